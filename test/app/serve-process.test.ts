import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { startServeProcess } from "../../src/app/serve-process.ts";
import { parseConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";

const dir = mkdtempSync(join(tmpdir(), "nightshift-serve-"));
afterAll(() => rmSync(dir, { recursive: true }));

const postgres = { driver: "postgres", urlEnv: "DATABASE_URL", connectTimeoutMs: 500 };
const kafka = { driver: "kafka", brokers: ["127.0.0.1:1"] };
const agent = { model: "m", baseModel: "b" };
const env = { DATABASE_URL: "postgres://nobody@127.0.0.1:1/none" };

it.each([
  {
    what: "the embedded database",
    tree: { transport: kafka },
    code: "config_invalid",
    says: /^config store\.driver: .*serve needs postgres/,
  },
  {
    what: "the inline transport",
    tree: { store: postgres },
    code: "config_invalid",
    says: /^config transport\.driver: .*serve needs kafka/,
  },
  {
    what: "an agent without named policy servers",
    tree: { store: postgres, transport: kafka, agents: { shop: agent } },
    code: "config_invalid",
    says: /^config agents\.shop\.policyServers: .*name the replicas/,
  },
  { what: "a database that is away", tree: { store: postgres, transport: kafka }, code: "store_unavailable", says: /127\.0\.0\.1:1\/none/ },
])("serve refuses $what", async ({ tree, code, says }) => {
  const config = parseConfig({ dataDir: dir, ...tree });
  const refused = await startServeProcess(config, { log: silentLog(), env }).catch((error: unknown) => error);
  expect(refused).toMatchObject({ code, message: expect.stringMatching(says) });
});
