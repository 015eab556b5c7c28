// @segment/analytics-node
import { Analytics } from "@segment/analytics-node";
import { firstRound, nextLine, secondRound } from "./rounds.mjs";

const { HOST: host, WRITE_KEY: writeKey } = process.env;
const analytics = new Analytics({ writeKey, host, maxRetries: 5, flushInterval: 200 });
analytics.on("error", (error) => console.error(error.code, String(error.reason ?? "")));
firstRound((kind, message) => analytics[kind](message));
await analytics.flush();
console.log("round");
await nextLine();
analytics.track(secondRound);
await analytics.closeAndFlush();
