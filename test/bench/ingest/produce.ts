import { silentLog } from "../../../src/log.ts";
import type { KafkaConfig } from "../../../src/config-transport.ts";
import { createKafkaTransport } from "../../../src/transport/kafka.ts";
import { publishStubbornly } from "../../real/kafka/world.ts";
import { conversationsRequest } from "./conversations.ts";

/** `node produce.ts JSON` writes requests of conversations to the topic as our collector would, and ends when Kafka has them. */
const { transport, requests, firstSeed } = JSON.parse(process.argv[2] ?? "{}") as {
  transport: KafkaConfig;
  requests: number;
  firstSeed: number;
};
const sink = createKafkaTransport(transport, { log: silentLog() });
for (let index = 0; index < requests; index++) {
  const body = conversationsRequest(firstSeed + index);
  await publishStubbornly(sink, { tenant: "default", signal: "traces", body, encoding: "gzip", redacted: true, receivedAtMs: Date.now() });
}
await sink.close();
