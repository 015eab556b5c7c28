// Uses the generated clients with strict types, and against a running server: `node use.js URL KEY`.
import { createClient } from "./generated/client";
import * as api from "./generated/sdk.gen";
import type { components, operations, webhooks } from "./types";

declare const process: { argv: string[] };

type Sent = components["schemas"]["EventInput"];
type Listed = operations["listEvents"]["responses"][200]["content"]["application/json"];
type Call = webhooks["sendrealm.contact.updated"]["post"]["requestBody"]["content"]["application/json"];

const event: Sent = { event: "order.completed", external_id: "ts_1", idempotency_key: "ts-1" };
// @ts-expect-error An event has no such member.
export const mistyped: Sent = { event: "order.completed", externalId: "ts_1" };
export const ids = (listed: Listed): string[] => listed.data.map((each) => each.id);
export const changed = (call: Call): string[] => Object.keys(call.data.payload.changes);

async function main(baseUrl: string, key: string): Promise<void> {
  const client = createClient({ baseUrl, auth: () => key });
  const first = await api.ingestEvent({ client, body: event });
  const repeat = await api.ingestEvent({ client, body: event });
  const batch = await api.ingestBatch({ client, body: { events: [event, { ...event, idempotency_key: "ts-2" }] } });
  const topic = await api.createTopic({ client, body: { name: "From TypeScript" } });
  const wrong = await api.getTopic({ client, path: { id: first.data!.data.id } });
  const listed = await api.listEvents({ client, query: { limit: 10, external_id: "ts_1" } });
  console.log(
    JSON.stringify({
      same: first.data!.data.id === repeat.data!.data.id,
      deduplicated: "deduplicated" in repeat.data!.data,
      batch: batch.data!.data.map((item) => item.status),
      topic: topic.data!.data.name,
      wrong: wrong.error!.error.code,
      listed: listed.data!.data.length,
    }),
  );
}

if (process.argv.length > 2) void main(process.argv[2]!, process.argv[3]!);
