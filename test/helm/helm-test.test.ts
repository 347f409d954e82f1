import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startApp, type App } from "../../src/app.ts";
import { parseConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import { chart, podsOf, readChart, renderedOf } from "./objects.ts";

const home = mkdtempSync(join(tmpdir(), "nightshift-helm-test-"));
const secrets = join(home, "secrets");
const script = join(chart, "files/helm-test.mjs");
const tokens = { "operator-token": "nightshift_operator_of_this_test", "collector-token": "nightshift_collector_of_this_test" };
const hashOf = (token: string): string => createHash("sha256").update(token).digest("hex");

let app: App;
beforeAll(async () => {
  mkdirSync(secrets);
  for (const [file, token] of Object.entries(tokens)) writeFileSync(join(secrets, file), `${token}\n`);
  const listener = { port: 0 };
  const config = parseConfig({
    dataDir: join(home, "data"),
    collector: { ...listener, grpc: { enabled: false } },
    gateway: listener,
    api: { ...listener, tokens: { operator: [hashOf(tokens["operator-token"])] } },
    tenants: { default: { collectorTokenHashes: [hashOf(tokens["collector-token"])] } },
  });
  app = await startApp(config, { log: silentLog(), env: {} });
});
afterAll(async () => {
  await app.close();
  rmSync(home, { recursive: true });
});

/** Runs the script as the pod of `helm test` does. */
async function helmTest(env: Record<string, string>): Promise<{ code: number; out: string; err: string }> {
  const given = {
    CONTROL_URL: `http://127.0.0.1:${app.apiPort}`,
    COLLECTOR_URL: `http://127.0.0.1:${app.collectorPort}`,
    SECRETS: secrets,
    ...env,
  };
  const running = promisify(execFile)(process.execPath, [script], { env: given });
  return running.then(
    ({ stdout, stderr }) => ({ code: 0, out: stdout, err: stderr }),
    (error: { code: number; stdout: string; stderr: string }) => ({ code: error.code, out: error.stdout, err: error.stderr }),
  );
}

describe("helm test sends one span and reads the status API", () => {
  test("both answer: exit code 0", async () => {
    expect(await helmTest({})).toEqual({ code: 0, out: "the collector took one span\nthe control service knows no agent yet\n", err: "" });
  });

  test("a collector that refuses the token: exit code 1, and says who", async () => {
    const elsewhere = join(home, "other-secrets");
    mkdirSync(elsewhere);
    writeFileSync(join(elsewhere, "collector-token"), "wrong");
    const { code, err } = await helmTest({ SECRETS: elsewhere });
    expect(code).toBe(1);
    expect(err).toMatch(/^the collector: .*HTTP 401/);
  });

  test("a control service that refuses the token: exit code 1", async () => {
    const elsewhere = join(home, "no-operator");
    mkdirSync(elsewhere);
    writeFileSync(join(elsewhere, "collector-token"), tokens["collector-token"]);
    const { code, out, err } = await helmTest({ SECRETS: elsewhere });
    expect([code, out]).toEqual([1, "the collector took one span\n"]);
    expect(err).toMatch(/^the control service: .*HTTP 401/);
  });

  test("an agent of the values that the control service does not know: exit code 1", async () => {
    const { code, err } = await helmTest({ AGENTS: "support" });
    expect(code).toBe(1);
    expect(err).toBe("the control service: knows no agent, not support\n");
  });

  test("the pod runs this script, with the addresses of the release and the agents of its values", () => {
    const [pod] = podsOf(renderedOf("full")).filter(({ of }) => of.metadata.annotations?.["helm.sh/hook"] === "test");
    expect(pod?.spec.containers[0]?.env).toEqual([
      { name: "CONTROL_URL", value: "http://nightshift-serve:4400" },
      { name: "COLLECTOR_URL", value: "http://nightshift-collector:4318" },
      { name: "AGENTS", value: "sales,support" },
    ]);
    const map = renderedOf("full").find(({ kind, metadata }) => kind === "ConfigMap" && metadata.name === "nightshift-test");
    expect(map?.data?.["helm-test.mjs"]?.trimEnd()).toBe(readChart("files/helm-test.mjs").trimEnd());
  });
});
