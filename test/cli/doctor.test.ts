import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { clockAheadMs, judgeClock } from "../../src/cli/doctor/clock.ts";
import type { Finding } from "../../src/cli/doctor/finding.ts";
import { checkAgents } from "../../src/cli/doctor/agents.ts";
import { checkJudgesAnswer } from "../../src/cli/doctor/judges.ts";
import { checkReadiness } from "../../src/cli/doctor/readiness.ts";
import { checkPolicyServers } from "../../src/cli/doctor/policy-servers.ts";
import { checkRedaction } from "../../src/cli/doctor/redaction.ts";
import { parseConfig } from "../../src/config.ts";

const dir = mkdtempSync(join(tmpdir(), "nightshift-doctor-"));
const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.closeAllConnections();
});
afterAll(() => rmSync(dir, { recursive: true }));

const lines = (findings: readonly Finding[]): string[] => findings.map(({ status, check, message }) => `${status} ${check}: ${message}`);

/** Answers by `METHOD path`; 404 otherwise. Keeps what was asked. */
async function serve(answers: Record<string, (body: string) => { status?: number; body: unknown }>) {
  const asked: string[] = [];
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    asked.push(`${request.method} ${request.url} ${request.headers.authorization ?? ""}`.trim());
    const body = await text(request);
    const found = answers[`${request.method} ${request.url?.split("?")[0]}`]?.(body) ?? { status: 404, body: { detail: "Not Found" } };
    response.writeHead(found.status ?? 200, { "content-type": typeof found.body === "string" ? "text/plain" : "application/json" });
    response.end(typeof found.body === "string" ? found.body : JSON.stringify(found.body));
  };
  const server = createServer((request, response) => void answer(request, response));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  servers.push(server);
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

describe("clocks", () => {
  const noon = Date.parse("2026-11-21T12:00:00Z");
  const header = "Sat, 21 Nov 2026 12:00:00 GMT";
  it.each([
    { what: "asked and answered within its second", asked: noon + 100, answered: noon + 200, ahead: 0 },
    { what: "the second before", asked: noon - 300, answered: noon - 100, ahead: 100 },
    { what: "the second after", asked: noon + 1_500, answered: noon + 1_600, ahead: -501 },
    { what: "two minutes behind", asked: noon + 120_999, answered: noon + 121_500, ahead: -120_000 },
    { what: "an hour ahead", asked: noon - 3_600_500, answered: noon - 3_600_000, ahead: 3_600_000 },
  ])("$what", ({ asked, answered, ahead }) => {
    expect(clockAheadMs(header, asked, answered)).toBe(ahead);
  });

  it.each([
    { ahead: 1_000, status: "ok" },
    { ahead: -1_001, status: "warn" },
    { ahead: 60_000, status: "warn" },
    { ahead: -60_001, status: "bad" },
    { ahead: null, status: "warn" },
  ])("$ahead ms is $status", ({ ahead, status }) => {
    expect(judgeClock("x", ahead).status).toBe(status);
  });

  it.each([undefined, null, "", "yesterday"])("%j tells no time", (text) => {
    expect(clockAheadMs(text, 0, 1)).toBeNull();
  });
});

describe("redaction keys", () => {
  const key = join(dir, "redaction.key");
  const configOf = (tenant: object, transport: object = { driver: "inline" }) => parseConfig({ tenants: { default: tenant }, transport });
  const kafka = { driver: "kafka", brokers: ["127.0.0.1:9092"] };

  it("is made by itself where one process has it, and must be given where several do", () => {
    expect(lines(checkRedaction(configOf({})))).toEqual(["ok redaction key of default: made at the first start, kept below dataDir/keys"]);
    expect(lines(checkRedaction(configOf({}, kafka)))).toEqual([
      expect.stringMatching(/^warn redaction key of default: not configured: every process/),
    ]);
  });

  it("is shown by its id, and must be long enough and nobody else's", () => {
    writeFileSync(key, Buffer.alloc(32, 1));
    chmodSync(key, 0o600);
    const [finding] = lines(checkRedaction(configOf({ redactionKeyFile: key }, kafka)));
    expect(finding).toMatch(/^ok redaction key of default: .*redaction\.key, id [0-9a-f]{16}$/);
    chmodSync(key, 0o644);
    expect(lines(checkRedaction(configOf({ redactionKeyFile: key })))).toEqual([
      expect.stringMatching(/^warn .*other users of this machine may read it$/),
    ]);
    writeFileSync(key, "short");
    expect(lines(checkRedaction(configOf({ redactionKeyFile: key })))).toEqual([expect.stringMatching(/^bad .*it has 5 bytes, not 32$/)]);
    expect(lines(checkRedaction(configOf({ redactionKeyFile: join(dir, "none") })))).toEqual([
      expect.stringMatching(/^bad .*it cannot be read$/),
    ]);
  });
});

describe("judges", () => {
  const check = (baseUrl: string, isPaid = false) =>
    checkJudgesAnswer(
      parseConfig({
        agents: { a: { model: "m", baseModel: "b", judge: { driver: "ruler", model: "judge-1", baseUrl, apiKeyEnv: "KEY" } } },
      }),
      { env: { KEY: "s3cret" } },
      { isPaid },
    );
  const models = (...ids: string[]) => ({
    "GET /v1/models": () => ({ body: { object: "list", data: ids.map((id) => ({ id, object: "model" })) } }),
  });

  it("are asked for their models only, unless told to pay", async () => {
    const { url, asked } = await serve(models("judge-0", "judge-1"));
    expect(lines(await check(`${url}/v1`))).toEqual([
      "ok a: judge answers: judge-1 is listed; nothing was asked of it (--ask-judges does, for a token)",
    ]);
    expect(asked).toEqual(["GET /v1/models Bearer s3cret"]);
  });

  it("are joined by the simulator, and by what replay may read live", async () => {
    const { url } = await serve(models("words"));
    const simulator = { model: "words", baseUrl: `${url}/v1`, apiKeyEnv: "KEY" };
    const tools = { get: { url: "http://127.0.0.1:1/" }, pay: { url: "http://127.0.0.1:1/" } };
    const replay = { simulator, liveReads: { tools, apiKeyEnv: "ABSENT" } };
    const tree = { agents: { a: { model: "m", baseModel: "b", replay, tools: { get: { class: "read" }, pay: { class: "write" } } } } };
    const env: Record<string, string> = { KEY: "s3cret" };
    expect(lines(await checkJudgesAnswer(parseConfig(tree), { env }, { isPaid: false }))).toEqual([
      "ok a: simulator answers: words is listed; nothing was asked of it (--ask-judges does, for a token)",
    ]);
    const ofReplay = () => lines(checkAgents(parseConfig(tree), { env })).filter((line) => / a: (?:simulator|live reads):/.test(line));
    expect(ofReplay()).toEqual([`ok a: simulator: words at ${url}/v1`, "bad a: live reads: ABSENT is not set"]);
    env["ABSENT"] = "reader";
    expect(ofReplay().at(-1)).toBe("warn a: live reads: pay is no read: never asked");
  });

  it("write an answer when told to", async () => {
    const choice = { index: 0, finish_reason: "stop", message: { role: "assistant", content: "yes" } };
    const { url, asked } = await serve({
      "POST /v1/chat/completions": () => ({ body: { id: "1", object: "chat.completion", choices: [choice] } }),
    });
    expect(lines(await check(`${url}/v1`, true))).toEqual(["ok a: judge answers: judge-1 wrote an answer"]);
    expect(asked).toEqual(["POST /v1/chat/completions Bearer s3cret"]);
  });

  it.each([
    { answers: models("other"), says: /^warn .*judge-1 is not among the 1 models that are listed$/ },
    {
      answers: { "GET /v1/models": () => ({ status: 401, body: { error: { message: "no s3cret" } } }) },
      says: /^bad .*refused the key: HTTP 401$/,
    },
    { answers: { "GET /v1/models": () => ({ status: 500, body: "down" }) }, says: /^bad .*HTTP 500$/ },
    { answers: {}, says: /^warn .*lists no models$/ },
  ])("say what is wrong: $says", async ({ answers, says }) => {
    const { url } = await serve(answers);
    const [line] = lines(await check(`${url}/v1`));
    expect(line).toMatch(says);
    expect(line).not.toContain("s3cret");
  });

  it("that are away are one bad finding", async () => {
    expect(lines(await check("http://127.0.0.1:1/v1"))).toEqual(["bad a: judge answers: http://127.0.0.1:1/v1 does not answer"]);
  });
});

describe("a policy server that is not vLLM", () => {
  const check = (url: string) =>
    checkPolicyServers(parseConfig({ agents: { a: { model: "m", baseModel: "b", policyServers: [{ url }] } } }));

  it("is told by what it does not say", async () => {
    const { url } = await serve({ "GET /v1/models": () => ({ body: { data: [{ id: "other" }] } }) });
    expect(lines(await check(url)).map((line) => line.replaceAll(url, "URL"))).toEqual([
      "bad a: URL: serves other, not m",
      "warn a: URL: tells no version: it may not be vLLM",
      "bad a: URL: does not load adapters at run time",
      "warn a: URL: gave no logprobs to compare",
      "warn a: URL: max-cpu-loras, max-lora-rank and the scheduling policy cannot be seen over HTTP",
      "ok a: URL: clock: agrees with this machine's",
    ]);
  });

  it("that is away is a warning: doctor may run elsewhere", async () => {
    expect(lines(await check("http://127.0.0.1:1"))).toEqual([
      "warn a: http://127.0.0.1:1: does not answer from here: its flags were not looked at",
    ]);
  });
});

describe("a policy server and the priority of rollouts", () => {
  const said = async (answer: { status?: number; body: unknown }, replay: object = {}) => {
    const { url } = await serve({
      "GET /v1/models": () => ({ body: { data: [{ id: "m" }] } }),
      "POST /v1/completions": (body) => ((JSON.parse(body) as { priority?: number }).priority === undefined ? { body: {} } : answer),
    });
    const findings = await checkPolicyServers(
      parseConfig({ agents: { a: { model: "m", baseModel: "b", replay, policyServers: [{ url }] } } }),
    );
    return lines(findings).filter((line) => /rollouts|scheduling/.test(line));
  };
  const refused = { status: 400, body: { error: { message: "Got priority 1 but Priority scheduling is not enabled." } } };

  it("a server that refuses one has no such policy", async () => {
    expect(await said(refused)).toEqual([
      expect.stringMatching(/^warn .*: --scheduling-policy fcfs: a night's rollouts are not put behind production's calls$/),
    ]);
  });

  it("a server that takes one need not have it", async () => {
    expect(await said({ body: {} })).toEqual([
      expect.stringMatching(/^warn .*: max-cpu-loras, max-lora-rank and the scheduling policy cannot be seen over HTTP$/),
    ]);
  });

  it("rollouts that are sent with none are no better off for it", async () => {
    expect(await said(refused, { priority: 0 })).toEqual([
      expect.stringMatching(/^warn .*: a night's rollouts stand in line with production's calls$/),
    ]);
  });
});

describe("the adapter agent of a policy server", () => {
  const check = (readinessUrl: string) => checkReadiness("a", readinessUrl);

  it.each([
    { status: 200, body: { status: "ready", base: "proven" }, says: "ok a: ready, its base proven" },
    { status: 200, body: { status: "ready", base: "untested" }, says: "ok a: ready, its base untested" },
    {
      ...{ status: 503, body: { status: "not_ready", reason: "stable is not loaded", base: "pending" } },
      says: "warn a: not ready: stable is not loaded",
    },
    { status: 200, body: { status: "ready", base: "another" }, says: "bad a: answers with another base than the adapters were trained on" },
    {
      ...{ status: 404, body: { error: "no" } },
      says: "warn a: its adapter agent gives no answer at readinessUrl URL/ready (HTTP 404 without an adapter agent's words): gateways send it calls whatever it has",
    },
  ])("says: $says", async ({ says, ...answer }) => {
    const { url } = await serve({ "GET /ready": () => answer });
    expect(lines([await check(`${url}/ready`)]).map((line) => line.replaceAll(url, "URL"))).toEqual([says]);
  });

  it("that is away is a warning", async () => {
    expect(lines([await check("http://127.0.0.1:1/ready")])[0]).toMatch(/^warn a: its adapter agent gives no answer/);
  });
});

describe("a vLLM server whose development endpoints are open", () => {
  const completion = (body: { temperature: number }) => ({
    choices: [{ logprobs: { top_logprobs: [{ a: -1 / body.temperature, b: -2 / body.temperature }] } }],
  });

  it("tells every flag", async () => {
    const { url } = await serve({
      "GET /v1/models": () => ({ body: { data: [{ id: "m" }] } }),
      "GET /version": () => ({ body: { version: "0.9.1" } }),
      "GET /metrics": () => ({ body: 'vllm:lora_requests_info{max_lora="3",running_lora_adapters=""} 1\n' }),
      "POST /v1/completions": (body) => ({ body: completion(JSON.parse(body) as { temperature: number }) }),
      "POST /v1/unload_lora_adapter": (body) => ({ status: 404, body: { error: { message: body } } }),
      "GET /server_info": () => ({
        body: { vllm_config: { lora_config: { max_loras: 3, max_cpu_loras: 3, max_lora_rank: 8 }, scheduler_config: { policy: "fcfs" } } },
      }),
    });
    const findings = await checkPolicyServers(parseConfig({ agents: { a: { model: "m", baseModel: "b", policyServers: [{ url }] } } }));
    expect(lines(findings).map((line) => line.replaceAll(url, "URL"))).toEqual([
      "bad a: URL: vLLM 0.9.1",
      "bad a: URL: --max-loras 3: stable, candidate, the last known good and tonight's do not fit, so nights will be refused",
      "warn a: URL: --max-cpu-loras 3: adapters are read from disk again",
      "bad a: URL: --max-lora-rank 8, nights train rank 16",
      "ok a: URL: logprobs are processed: temperature moves them",
      "warn a: URL: --scheduling-policy fcfs: a night's rollouts are not put behind production's calls",
      "warn a: URL: its development endpoints are open: whoever reaches it may pause it",
      "ok a: URL: clock: agrees with this machine's",
    ]);
  });
});
