import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { checkTransport } from "../../../src/cli/doctor/transport.ts";
import { recordOf } from "../../conformance/transport.ts";
import { makeCertificate } from "../parts/certificate.ts";
import { startKafka, type KafkaServer } from "../parts/kafka.ts";
import { createLedger, openTransport, publishStubbornly, withTopics } from "./world.ts";

const directory = mkdtempSync(join(tmpdir(), "nightshift-tls-"));
const file = (name: string): string => join(directory, name);
const [username, password] = ["nightshift", "not-a-secret-of-anybody"];
let server: KafkaServer;

beforeAll(async () => {
  const { keyAndCertificate } = await makeCertificate(directory);
  writeFileSync(file("password"), `${password}\n`);
  writeFileSync(file("wrong"), "something else");
  server = await startKafka({ secure: { keyAndCertificate, username, password } });
});
afterAll(async () => {
  await server.close();
  rmSync(directory, { recursive: true });
});

const secured = (mechanism: "plain" | "scram-sha-512", passwordFile = file("password")) => ({
  brokers: server.secureBrokers,
  tls: { caFile: file("ca.pem") },
  sasl: { mechanism, username, passwordFile },
});

test.each(["plain", "scram-sha-512"] as const)("records go through TLS with a login by %s", async (mechanism) => {
  const transport = openTransport(await withTopics(server, secured(mechanism)));
  const ledger = createLedger();
  await transport.subscribe(async (record) => ledger.add(record));
  await publishStubbornly(transport, recordOf(1));
  await ledger.until(1);
  await transport.close();
});

test("a wrong password is a refusal that names its cause; records are not lost to it", async () => {
  const config = await withTopics(server, secured("plain", file("wrong")));
  const transport = openTransport(config);
  expect(await transport.publish(recordOf(1))).toMatchObject({ status: "retryable" });
  await transport.close();
  const [finding] = await checkTransport({ transport: config });
  expect(finding).toMatchObject({ check: "kafka", status: "bad", message: expect.stringContaining("refused this client") });
  expect(JSON.stringify(finding)).not.toContain("something else");
});

test("brokers of an unknown authority are not talked to", async () => {
  const config = await withTopics(server, { ...secured("plain"), tls: {} });
  const [finding] = await checkTransport({ transport: config });
  expect(finding).toMatchObject({ check: "kafka", status: "bad", message: expect.stringMatching(/self-signed certificate/) });
});
