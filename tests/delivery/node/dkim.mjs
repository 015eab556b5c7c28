// Reads {name, record, mails} as JSON from standard input, writes for each mail (bytes as Latin-1)
// what its first signature comes to, with `record` as the only TXT record there is.
import { dkimVerify } from "mailauth/lib/dkim/verify.js";

let input = "";
for await (const chunk of process.stdin) input += chunk;
const { name, record, mails } = JSON.parse(input);

const resolver = async (domain, type) => {
  if (type === "TXT" && domain === name) return [[record]];
  throw Object.assign(new Error("no record"), { code: "ENOTFOUND" });
};
const results = [];
for (const mail of mails) {
  const found = await dkimVerify(Buffer.from(mail, "latin1"), { resolver });
  results.push(found.results[0].status.result);
}
process.stdout.write(JSON.stringify(results));
