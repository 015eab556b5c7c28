// @rudderstack/rudder-sdk-node
import rudder from "@rudderstack/rudder-sdk-node";
import { firstRound, nextLine, secondRound } from "./rounds.mjs";

const Analytics = rudder.default ?? rudder;
const { HOST: host, WRITE_KEY: writeKey } = process.env;
const analytics = new Analytics(writeKey, { dataPlaneUrl: host, flushInterval: 200 });
firstRound((kind, message) => analytics[kind](message));
await analytics.flush();
console.log("round");
await nextLine();
analytics.track(secondRound);
await analytics.flush();
