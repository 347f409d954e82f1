import { createLog } from "../../../src/log.ts";
import { createKafkaTransport } from "../../../src/transport/kafka.ts";
import { recordOf } from "../../conformance/transport.ts";
import { kafkaConfig, publishStubbornly } from "./world.ts";

/** A program that publishes one record, gets it back, idles for a second, closes and has nothing left to wait for. Argument: broker and topics as JSON. */
const given = JSON.parse(process.argv[2] ?? "{}") as { brokers: string[]; topics: { traces: string; logs: string; deadLetter: string } };
const config = { ...kafkaConfig(given.brokers), topics: given.topics };
const transport = createKafkaTransport(config, { log: createLog({ level: "error", process: "test" }) });
const got = Promise.withResolvers<void>();
await transport.subscribe(() => Promise.resolve(got.resolve()));
await publishStubbornly(transport, recordOf(1));
await got.promise;
const before = process.cpuUsage();
await new Promise((resolve) => setTimeout(resolve, 2_000));
const { user, system } = process.cpuUsage(before);
await transport.close();
process.stdout.write(`${JSON.stringify({ idleCpuMs: (user + system) / 1_000 })}\n`);
