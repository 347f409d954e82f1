import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, expect, it, vi } from "vitest";
import { createClient } from "../../src/cli/client.ts";
import { checkPolicyServers } from "../../src/cli/doctor/policy-servers.ts";
import { checkRunning } from "../../src/cli/doctor/running.ts";
import { parseConfig } from "../../src/config.ts";
import { stubApi, type StubApi } from "./terminal.ts";

const home = mkdtempSync(join(tmpdir(), "nightshift-home-"));
afterAll(() => rmSync(home, { recursive: true }));

const opened: StubApi[] = [];
async function serve(answers: Readonly<Record<string, unknown>>): Promise<string> {
  const api = await stubApi(answers);
  opened.push(api);
  return api.url;
}
beforeEach(() => {
  // A kubeconfig of whoever runs the tests would lead somewhere.
  vi.stubEnv("HOME", home);
  vi.stubEnv("KUBECONFIG", "");
});
afterEach(async () => {
  vi.unstubAllEnvs();
  for (const api of opened.splice(0)) await api.close();
});

const clientOf = (url: string) => createClient({ url }, { env: {}, signal: new AbortController().signal });
const DISCOVER = { service: "vllm", port: 8000 };

/** What doctor says of an agent whose replicas are discovered, `status check: message` a line. */
async function said(control: string | null, discover: object = DISCOVER): Promise<string[]> {
  const config = parseConfig({ agents: { a: { model: "m", baseModel: "b", policyServers: { discover } } } });
  const findings = await checkPolicyServers(config, control === null ? null : clientOf(control));
  return findings.map(({ status, check, message }) => `${status} ${check}: ${message}`);
}

const replica = (name: string, url: string, isReady = true) => ({ name, url, readinessUrl: `${url}/ready`, uid: `uid-${name}`, isReady });
const told = (replicas: readonly object[]) => ({ "GET /v1/upstreams": { agent: "a", version: "1", replicas } });

it("looks at each replica that the control service sees, as at configured ones", async () => {
  const models = { "GET /v1/models": { data: [{ id: "other" }] } };
  const first = await serve({ ...models, "GET /ready": { status: "ready", base: "another" } });
  const second = await serve(models);
  const lines = await said(
    await serve(told([replica("vllm-0", first), replica("vllm-1", second, false), replica("vllm-2", "http://127.0.0.1:1")])),
  );
  expect(lines[0]).toBe(
    "warn a: replicas of service vllm: the control service finds vllm-0, vllm-1, vllm-2; not ready, so without calls: vllm-1",
  );
  for (const [name, url] of [
    ["vllm-0", first],
    ["vllm-1", second],
  ]) {
    expect(lines).toContain(`bad a: ${name} (${url}): serves other, not m`);
    expect(lines).toContain(`warn a: ${name} (${url}): tells no version: it may not be vLLM`);
    expect(lines).toContain(`ok a: ${name} (${url}): clock: agrees with this machine's`);
  }
  expect(lines).toContain(`bad a: vllm-0 (${first}): readiness: answers with another base than the adapters were trained on`);
  const away = lines.filter((line) => line.includes("vllm-2 ("));
  expect(away).toEqual([
    "warn a: vllm-2 (http://127.0.0.1:1): does not answer from here: its flags were not looked at",
    expect.stringMatching(/^warn a: vllm-2 \(http:\/\/127\.0\.0\.1:1\): readiness: its adapter agent gives no answer/),
  ]);
});

it("says that none is discovered", async () => {
  expect(await said(await serve(told([])))).toEqual([
    "bad a: replicas of service vllm: the control service finds none; calls have nowhere to go but the Service's own address",
  ]);
});

it("says what nobody could look at, and what the running control service says of it", async () => {
  const unseen = /^warn a: replicas of service vllm: not looked at: there is no Kubernetes API to talk to/;
  expect(await said(null)).toEqual([expect.stringMatching(unseen)]);
  const error = { code: "fleet_unknown", message: "the replicas of a have not been found in Kubernetes yet" };
  const blind = await serve({ "GET /v1/upstreams": { httpStatus: 503, body: { error } } });
  expect(await said(blind)).toEqual([
    expect.stringMatching(unseen),
    "bad a: replicas of service vllm: control service: the replicas of a have not been found in Kubernetes yet",
  ]);
});

it("says where gateways have no last resort", async () => {
  const lines = await said(await serve(told([])), { service: "vllm", port: "http" });
  expect(lines.at(-1)).toBe("warn a: service vllm: gateways have no address for when none of its pods is known");
});

it("goes on with the rest of a running Nightshift that has not found its replicas yet", async () => {
  const error = { code: "fleet_unknown", message: "the replicas of a have not been found in Kubernetes yet" };
  const report = { captured: 0, examined: 0, dialects: [], mends: [], keys: [] };
  const url = await serve({
    "GET /v1/status": { agents: [{ agent: "a" }], control: { leader: { name: "serve-0" }, retention: { atMs: Date.now(), removed: {} } } },
    "GET /v1/replicas": { httpStatus: 503, body: { error } },
    "GET /v1/report": report,
  });
  const { findings, isRunning } = await checkRunning(clientOf(url));
  expect(isRunning).toBe(true);
  expect(findings.map(({ status, check }) => `${status} ${check}`)).toEqual([
    "ok api",
    "ok leader",
    "ok retention",
    "bad a: policy servers",
    "warn a: telemetry",
  ]);
});
