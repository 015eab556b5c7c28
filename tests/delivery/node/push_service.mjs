// A push service that decrypts what it gets and checks VAPID; port: the first argument.
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const { PushApiModel } = require("web-push-testing/src/PushApiModel.js");
const WebPushTestingServer = require("web-push-testing/src/server.js");

new WebPushTestingServer(new PushApiModel(), Number(process.argv[2])).startServer();
