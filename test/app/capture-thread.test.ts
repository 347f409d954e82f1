import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Worker } from "node:worker_threads";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { captureWorker, openCaptureThread } from "../../src/app/capture-thread.ts";
import { silentLog } from "../../src/log.ts";
import type { Settled } from "../../src/serving/gateway/capture/capture.ts";
import type { SeenCall } from "../../src/serving/gateway/capture/seen.ts";
import { startEndpoint } from "../telemetry/endpoint.ts";

const LIMIT = { timeout: 20_000, interval: 20 };
let collector: Awaited<ReturnType<typeof startEndpoint>>;
beforeEach(async () => {
  collector = await startEndpoint();
});
afterEach(() => collector.close());

const TARGET = { name: "shop-1-aaaaaaaaaaaa", digest: "sha256:aaaa" };
const seenCall = (key: string, answer: readonly Uint8Array[] | null): SeenCall => ({
  ...{ kind: "call", agent: "shop", path: "/v1/chat/completions", publicModel: "shop-model" },
  caller: { traceparent: null, sessionId: key },
  assignment: { experimentId: null, key, weakKey: false, arm: "stable", probability: 0, routeVersion: 1 },
  ...{ target: TARGET, fallback: null, errorType: null, startMs: 1, firstByteMs: 2, endMs: 3, isEventStream: false, answer },
  request: Buffer.from(JSON.stringify({ messages: [{ role: "user", content: `asked by ${key}` }] })),
});
const ANSWER = Buffer.from(JSON.stringify({ choices: [{ message: { content: "answered" }, finish_reason: "stop" }] }));

function open(token?: string) {
  const outcomes: Settled[] = [];
  const workers: Worker[] = [];
  const thread = openCaptureThread(
    { agents: [{ agent: "shop", serviceName: "shop", token }], collectorUrl: `${collector.url}/` },
    {
      settled: (outcome) => void outcomes.push(outcome),
      log: silentLog(),
      startWorker: (options) => {
        const worker = captureWorker(options);
        workers.push(worker);
        return worker;
      },
    },
  );
  const sum = (field: "count" | "bytes") => outcomes.reduce((total, outcome) => total + outcome[field], 0);
  return { thread, outcomes, sum, workers };
}

it("makes spans of what it is sent, settles each once, and leaves the bytes to who sent them", async () => {
  const { thread, outcomes, sum } = open();
  // Two pieces of one buffer, as sockets give them.
  const pieces = [ANSWER.subarray(0, 10), ANSWER.subarray(10)];
  const calls = Array.from({ length: 200 }, (_, index) => seenCall(`key-${index}`, pieces));
  for (const call of calls) thread.send(call);
  await thread.close();
  const sent = Buffer.concat(collector.received.map(({ body }) => body)).toString("latin1");
  for (const { assignment } of calls) expect(sent).toContain(`asked by ${assignment.key}"`);
  expect(sent.split("answered").length - 1).toBe(200);
  expect(sum("count")).toBe(200);
  expect(sum("bytes")).toBe(calls.reduce((bytes, call) => bytes + call.request.length + ANSWER.length, 0));
  expect(outcomes.filter(({ problem }) => problem !== null)).toEqual([]);
  expect(String(pieces[0]) + String(pieces[1])).toBe(String(ANSWER));
});

it("sends with the configured token, and with nothing of the environment, which is an agent's", async () => {
  const env = {
    OTEL_EXPORTER_OTLP_HEADERS: "authorization=Bearer of-the-agent,x-agent=1",
    OTEL_EXPORTER_OTLP_TRACES_HEADERS: "x-traces=1",
    OTEL_SDK_DISABLED: "true",
    OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT: "3",
  };
  Object.assign(process.env, env);
  const { thread } = open("of-the-gateway");
  try {
    thread.send(seenCall("a-key-to-find", null));
    await thread.close();
  } finally {
    for (const name of Object.keys(env)) delete process.env[name];
  }
  expect(collector.received.map(({ path, headers }) => [path, headers["authorization"], headers["x-agent"], headers["x-traces"]])).toEqual([
    ["/v1/traces", "Bearer of-the-gateway", undefined, undefined],
  ]);
  expect(String(collector.received[0]?.body)).toContain("asked by a-key-to-find");
});

it("settles as lost what a collector refuses", async () => {
  collector.state.status = 400;
  const { thread, outcomes } = open();
  thread.send(seenCall("key", null));
  await thread.close();
  expect(outcomes).toMatchObject([{ count: 1, problem: "HTTP 400" }]);
});

it("starts again when its thread fails: what that held is settled as lost, what comes later is exported", async () => {
  // It takes what it is sent, and never answers.
  collector.state.status = null;
  const { thread, outcomes, sum, workers } = open();
  thread.send(seenCall("held", null));
  await collector.more(1);
  await workers.at(-1)?.terminate();
  await vi.waitFor(() => expect(outcomes).toMatchObject([{ count: 1, problem: "the capture thread ended" }]), LIMIT);
  collector.state.status = 200;
  thread.send(seenCall("later", null));
  await vi.waitFor(() => expect(sum("count")).toBe(2), LIMIT);
  await thread.close();
  expect(workers.length).toBe(2);
  expect(String(collector.received.at(-1)?.body)).toContain("asked by later");
});

it("keeps no process alive that forgot to close it", async () => {
  const program = join(import.meta.dirname, "capture-thread-forgotten.ts");
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", program], { stdio: "inherit", timeout: 15_000 });
  expect(await once(child, "exit")).toEqual([0, null]);
});

it("settles what no thread took before it is closed", async () => {
  const { thread, outcomes, workers } = open();
  await workers[0]?.terminate();
  thread.send(seenCall("nobody's", null));
  await thread.close();
  expect(outcomes).toMatchObject([{ count: 1, problem: "the capture thread ended" }]);
});
