import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { retryAfterMs } from "../../../src/cli/import/collector-client.ts";
import { runCli } from "../../../src/cli/program.ts";
import { cli } from "../terminal.ts";
import { collectorStub, type CollectorStub, type StubAnswer } from "./collector-stub.ts";

const dir = mkdtempSync(join(tmpdir(), "nightshift-import-"));
afterAll(() => rmSync(dir, { recursive: true }));
let stub: CollectorStub | null = null;
afterEach(async () => {
  await stub?.close();
  stub = null;
});

const OK: StubAnswer = { status: 200 };
const LATER: StubAnswer = { status: 503, headers: { "retry-after": "0" } };

/** `count` conversations of `bytes` each. */
function conversations(name: string, count: number, bytes = 10): string {
  const lines = Array.from({ length: count }, (_, index) => {
    const messages = [
      { role: "user", content: `${index} ${"x".repeat(bytes)}` },
      { role: "assistant", content: "ok" },
    ];
    return `${JSON.stringify({ messages })}\n`;
  });
  const path = join(dir, name);
  writeFileSync(path, lines.join(""));
  return path;
}

async function start(answer: (index: number) => StubAnswer | "hang up" | Promise<StubAnswer>): Promise<CollectorStub> {
  stub = await collectorStub(answer);
  return stub;
}

const run = ({ url }: CollectorStub, ...args: string[]) => cli(["import", "--endpoint", url, "--json", ...args]);
const counts = (out: string) => JSON.parse(out) as Record<string, number | boolean>;

describe("a collector that takes nothing for a while", () => {
  test.each<[string, (index: number) => StubAnswer | "hang up"]>([
    ["answers 503", () => LATER],
    ["answers 429", () => ({ ...LATER, status: 429 })],
    ["answers 502", () => ({ ...LATER, status: 502 })],
    ["answers 504", () => ({ ...LATER, status: 504 })],
  ])("%s: every span arrives once it does", async (_, refusal) => {
    const collector = await start((index) => (index < 3 ? refusal(index) : OK));
    const { code, out } = await run(collector, conversations("retry.jsonl", 5));
    expect(code).toBe(0);
    expect(counts(out)).toMatchObject({ spans: 5, refused: 0, requests: 1 });
    expect(collector.requests.map(({ spans }) => spans)).toEqual([5, 5, 5, 5]);
  });

  test("hangs up: the request is sent again", async () => {
    const collector = await start((index) => (index === 0 ? "hang up" : OK));
    expect((await run(collector, conversations("hangup.jsonl", 2))).code).toBe(0);
    expect(collector.requests).toHaveLength(2);
  });

  test("goes on refusing: the import ends, says what to do and how far it came", async () => {
    const collector = await start(() => ({ status: 503, headers: { "retry-after": "5" } }));
    const { code, out, err } = await run(collector, "--patience", "1", conversations("gone.jsonl", 2));
    expect(code).toBe(1);
    expect(counts(out)).toMatchObject({ spans: 0, requests: 0 });
    expect(err).toMatch(/took nothing for 0 s: HTTP 503: no reason given\n {2}fix: .*the same command/);
  });
});

test("Retry-After is seconds or a date, and never more than half a minute", () => {
  const now = Date.parse("2026-11-22T03:00:00Z");
  expect(retryAfterMs("7", now)).toBe(7_000);
  expect(retryAfterMs("Sun, 22 Nov 2026 03:00:12 GMT", now)).toBe(12_000);
  expect(retryAfterMs("Sun, 22 Nov 2026 02:00:00 GMT", now)).toBe(0);
  expect(retryAfterMs("86400", now)).toBe(30_000);
  expect(retryAfterMs("soon", now)).toBeNull();
  expect(retryAfterMs(null, now)).toBeNull();
});

describe("a collector that refuses", () => {
  test.each([401, 403, 404, 415, 500])("everything with %i: the import ends at once", async (status) => {
    const collector = await start(() => ({ status }));
    const { code, err } = await run(collector, conversations("refused.jsonl", 1));
    expect(code).toBe(1);
    expect(err).toMatch(new RegExp(`refused with HTTP ${status}`));
    expect(collector.requests).toHaveLength(1);
  });

  test("a page that says 200 is no collector's answer: the import ends at once", async () => {
    const collector = await start(() => ({ status: 200, headers: { "content-type": "text/html" }, body: Buffer.from("<p>welcome</p>") }));
    const { code, err } = await run(collector, conversations("page.jsonl", 1));
    expect(code).toBe(1);
    expect(err).toMatch(/no collector listens there/);
  });

  test("one request with 413: its place is told, the rest goes on", async () => {
    const collector = await start((index) => (index === 0 ? { status: 413 } : OK));
    const { code, out, err } = await run(collector, "--concurrency", "1", conversations("large.jsonl", 4, 600_000));
    expect(code).toBe(1);
    expect(counts(out)).toMatchObject({ spans: 3, refused: 1 });
    expect(err).toMatch(/large\.jsonl:1: the collector refused 1 of 1 spans: HTTP 413/);
  });

  test("some spans of a request: they are counted, with its words", async () => {
    // partial_success {rejected_spans: 2, error_message: "no"}
    const body = Uint8Array.of(0x0a, 6, 0x08, 2, 0x12, 2, 0x6e, 0x6f);
    const collector = await start(() => ({ status: 200, body }));
    const { code, out, err } = await run(collector, conversations("partial.jsonl", 5));
    expect(code).toBe(1);
    expect(counts(out)).toMatchObject({ spans: 3, refused: 2 });
    expect(err).toMatch(/partial\.jsonl:1 to .*partial\.jsonl:5: the collector refused 2 of 5 spans: no/);
  });
});

test("no more requests are open at once than --concurrency says", async () => {
  const waiting: (() => void)[] = [];
  const arrived = Promise.withResolvers<void>();
  const collector = await start(async () => {
    await new Promise<void>((resolve) => {
      waiting.push(resolve);
      if (waiting.length === 2) arrived.resolve();
    });
    return OK;
  });
  const running = run(collector, "--concurrency", "2", conversations("many.jsonl", 6, 600_000));
  await arrived.promise;
  const release = setInterval(() => waiting.shift()?.(), 1);
  const { code, out } = await running;
  clearInterval(release);
  expect(code).toBe(0);
  expect(counts(out)).toMatchObject({ spans: 6, requests: 6 });
  expect(collector.mostAtOnce()).toBe(2);
});

test("the token goes along, and is nowhere else", async () => {
  const collector = await start(() => OK);
  const token = join(dir, "token");
  writeFileSync(token, "collector-secret\n");
  const { out, err } = await run(collector, "--token-file", token, conversations("token.jsonl", 1));
  expect(collector.requests[0]?.authorization).toBe("Bearer collector-secret");
  expect(out + err).not.toContain("collector-secret");
});

test("address and token come from the config, the environment goes before it", async () => {
  const collector = await start(() => OK);
  const token = join(dir, "config-token");
  writeFileSync(token, "from-config");
  const config = join(dir, "config.yaml");
  writeFileSync(config, `gateway: {collectorUrl: "${collector.url}", collectorTokenFile: ${token}}\n`);
  const file = conversations("config.jsonl", 1);
  expect((await cli(["import", "--config", config, file])).code).toBe(0);
  expect((await cli(["import", "--config", config, file], { NIGHTSHIFT_TOKEN: "from-environment" })).code).toBe(0);
  expect((await cli(["import", file], { NIGHTSHIFT_COLLECTOR_URL: collector.url })).code).toBe(0);
  expect(collector.requests.map(({ authorization }) => authorization)).toEqual([
    "Bearer from-config",
    "Bearer from-environment",
    undefined,
  ]);
});

test("a signal ends it with what was sent, and 130", async () => {
  const stop = new AbortController();
  const collector = await start((index) => {
    if (index === 1) stop.abort(new Error("stopped"));
    return index === 0 ? OK : LATER;
  });
  const said: string[] = [];
  const code = await runCli(["import", "--endpoint", collector.url, "--concurrency", "1", conversations("stopped.jsonl", 8, 600_000)], {
    env: {},
    out: (text) => said.push(text),
    err: () => undefined,
    colours: false,
    signal: stop.signal,
  });
  expect(code).toBe(130);
  expect(said.join("\n")).toMatch(/taken +1 spans.*\n.*stopped +by a signal/);
  expect(collector.requests.length).toBeLessThan(8);
});

test("a dry run reads and converts everything and sends nothing", async () => {
  const collector = await start(() => OK);
  const file = conversations("dry.jsonl", 3);
  expect(counts((await run(collector, "--dry-run", file)).out)).toMatchObject({
    dryRun: true,
    spans: 3,
    traces: 3,
    records: { openai: 3 },
  });
  expect((await cli(["import", "--dry-run", file])).out).toMatch(/would send +3 spans/);
  expect(collector.requests).toEqual([]);
});
