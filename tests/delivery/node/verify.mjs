// Reads [{secret, headers, body}, …] as JSON from standard input, writes for each the verified
// event's type, or null when the library refuses it.
import { Webhook } from "standardwebhooks";

let input = "";
for await (const chunk of process.stdin) input += chunk;

const results = JSON.parse(input).map(({ secret, headers, body }) => {
  try {
    return new Webhook(secret).verify(body, headers).type;
  } catch {
    return null;
  }
});
process.stdout.write(JSON.stringify(results));
