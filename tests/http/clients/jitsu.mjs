// @jitsu/js, which sends each message in a request of its own and never again.
import { jitsuAnalytics } from "@jitsu/js";
import { nextLine } from "./rounds.mjs";

const { HOST: host, WRITE_KEY: key } = process.env;
const writeKey = key.replace(/^hr_/, "").replace("_", ":");
const analytics = jitsuAnalytics({ host, writeKey, errorPolicy: "rethrow" });
await analytics.identify("u1", { email: "mike@example.com", address: { city: "Wien" } });
for (const ref of [0, 1, 2]) {
  await analytics.track("Order Completed", { ref, total: 49.9 });
}
await analytics.page({ path: "/" });
await analytics.group("acme", { name: "Acme" });
console.log("round");
await nextLine();
await analytics.track("Second Round");
