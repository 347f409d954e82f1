import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { createSendSpans } from "../../src/serving/gateway/capture/send-spans.ts";
import { echo, sendJson, startUpstream } from "./fake-upstream.ts";
import { BASE, CANDIDATE, experiment, STABLE, startGateway } from "./gateway-fixture.ts";

test("a call without any routes is answered by the base model", async () => {
  const upstream = await startUpstream(echo);
  await using gateway = await startGateway({ upstreams: [upstream] });
  const answer = await gateway.chat("key");
  expect(await answer.json()).toMatchObject({ model: BASE.name });
  expect(answer.headers.get("x-nightshift-adapter")).toBe(BASE.digest);
  expect(answer.headers.get("x-nightshift-arm")).toBe("stable");
  await upstream.close();
});

test.each([
  { weight: 1, name: CANDIDATE.name, digest: CANDIDATE.digest, arm: "candidate" },
  { weight: 0, name: STABLE.name, digest: STABLE.digest, arm: "stable" },
])("at weight $weight the $arm answers", async ({ weight, name, digest, arm }) => {
  const upstream = await startUpstream(echo);
  await using gateway = await startGateway({ upstreams: [upstream], routes: experiment(weight) });
  const answer = await gateway.chat("key");
  expect(await answer.json()).toMatchObject({ model: name });
  expect(answer.headers.get("x-nightshift-adapter")).toBe(digest);
  expect(answer.headers.get("x-nightshift-arm")).toBe(arm);
  await upstream.close();
});

test("only the model name of a body changes, byte for byte", async () => {
  const upstream = await startUpstream(echo);
  await using gateway = await startGateway({ upstreams: [upstream] });
  const before = `{ "seed": 12345678901234567890, "x": {"model": "shop-model"}, "t": 1.0,  "m\\u006fdel" :"shop-model", "messages":[{"role":"user","content":"\\"model\\": \\\\"}]}`;
  await fetch(`${gateway.url}/v1/chat/completions`, { method: "POST", body: before });
  expect(upstream.seen[0]?.text).toBe(before.replace(`"m\\u006fdel" :"shop-model"`, `"m\\u006fdel" :"base"`));
  await upstream.close();
});

test("the request id and the hop-by-hop headers of a caller stay outside, its own headers pass", async () => {
  const upstream = await startUpstream(echo);
  await using gateway = await startGateway({ upstreams: [upstream] });
  const answer = await gateway.chat("key", {}, { "x-request-id": "mine", authorization: "Bearer caller", "x-custom": "1", te: "trailers" });
  const headers = upstream.seen[0]?.headers ?? {};
  expect(headers["x-request-id"]).toMatch(/^[0-9a-f-]{36}$/);
  expect(answer.headers.get("x-request-id")).toBe(headers["x-request-id"]);
  expect(headers.authorization).toBe("Bearer caller");
  expect(headers["x-custom"]).toBe("1");
  expect(headers["te"]).toBeUndefined();
  await upstream.close();
});

test("an upstream's key replaces the caller's", async () => {
  const upstream = await startUpstream(echo);
  await using gateway = await startGateway({ upstreams: [{ url: `${upstream.url}/v1/`, apiKey: "secret-of-upstream" }] });
  await gateway.chat("key", {}, { authorization: "Bearer caller" });
  expect(upstream.seen[0]).toMatchObject({ url: "/v1/chat/completions", headers: { authorization: "Bearer secret-of-upstream" } });
  expect(JSON.stringify((await gateway.spans()).map((span) => span.attributes))).not.toContain("secret");
  await upstream.close();
});

test.each([
  { method: "POST", path: "/v1/load_lora_adapter", status: 403 },
  { method: "POST", path: "/v1/unload_lora_adapter", status: 403 },
  { method: "POST", path: "/v1/%6coad_lora_adapter", status: 403 },
  { method: "POST", path: "//v1/chat/completions", status: 404 },
  { method: "POST", path: "/v1/embeddings", status: 404 },
  { method: "GET", path: "/metrics", status: 404 },
  { method: "GET", path: "/v1/chat/completions", status: 405 },
  { method: "POST", path: "/v1/models", status: 405 },
  { method: "POST", path: "/v1/chat/completions", body: "{", status: 400 },
  { method: "POST", path: "/v1/chat/completions", body: "[]", status: 400 },
  { method: "POST", path: "/v1/chat/completions", body: "{}", status: 400 },
  { method: "POST", path: "/v1/chat/completions", body: `{"model":"${CANDIDATE.name}"}`, status: 404 },
  { method: "POST", path: "/v1/chat/completions", body: `{"model":"shop-model","x":"${"y".repeat(2_000)}"}`, status: 413 },
  { method: "POST", path: "/rollout/none/v1/chat/completions", body: "{}", status: 404 },
])("$method $path $body is refused with $status and never reaches a policy server", async ({ method, path, body, status }) => {
  const upstream = await startUpstream(echo);
  await using gateway = await startGateway({ upstreams: [upstream], gateway: { maxBodyBytes: 1_000 } });
  const answer = await fetch(gateway.url + path, { method, ...(body === undefined ? {} : { body }) });
  expect(answer.status).toBe(status);
  expect(await answer.json()).toEqual({
    error: { message: expect.any(String) as string, type: "invalid_request_error", param: null, code: expect.any(String) as string },
  });
  expect(upstream.seen).toEqual([]);
  await upstream.close();
});

test("health is the gateway's own: 200 with no policy server to be had", async () => {
  await using gateway = await startGateway({ upstreams: [{ url: "http://127.0.0.1:1" }] });
  const answer = await fetch(`${gateway.url}/health`);
  expect({ status: answer.status, body: await answer.json() }).toEqual({ status: 200, body: { status: "ok" } });
});

test("models pass through", async () => {
  const upstream = await startUpstream((_request, response) => sendJson(response, { object: "list", data: [{ id: "base" }] }));
  await using gateway = await startGateway({ upstreams: [upstream] });
  expect(await (await fetch(`${gateway.url}/v1/models`)).json()).toEqual({ object: "list", data: [{ id: "base" }] });
  await upstream.close();
});

test("an error of the policy server passes through as it is", async () => {
  const upstream = await startUpstream((_request, response) => sendJson(response, { error: { message: "too long" } }, 400));
  await using gateway = await startGateway({ upstreams: [upstream] });
  const answer = await gateway.chat("key");
  expect(answer.status).toBe(400);
  expect(await answer.json()).toEqual({ error: { message: "too long" } });
  expect((await gateway.spans())[0]?.attributes).toMatchObject({ "error.type": "400" });
  await upstream.close();
});

test("a key keeps its arm while weights change, and everyone is on stable at the call after a rollback", async () => {
  const upstream = await startUpstream(echo);
  await using gateway = await startGateway({ upstreams: [upstream], routes: experiment(1) });
  const modelOf = async (key: string) => ((await (await gateway.chat(key)).json()) as { model: string }).model;
  expect(await modelOf("a")).toBe(CANDIDATE.name);
  gateway.routes.receive(experiment(0.01, { version: 2 }));
  expect(await modelOf("a")).toBe(CANDIDATE.name);
  gateway.routes.receive(experiment(0, { version: 3, candidate: null, experimentId: null, salt: null }));
  expect(await modelOf("a")).toBe(STABLE.name);
  const last = (await gateway.spans()).at(-1);
  expect(last?.attributes).toMatchObject({
    "nightshift.assignment.arm": "candidate",
    "nightshift.assignment.probability": 1,
    "nightshift.route.version": 1,
    "nightshift.experiment.id": "exp-1",
    "nightshift.adapter": STABLE.digest,
  });
  expect(last?.attributes["nightshift.fallback"]).toBeUndefined();
  await upstream.close();
});

test("an answer of another shape is passed on and captured without text", async () => {
  const upstream = await startUpstream(
    (_request, response) => response.writeHead(200, { "content-type": "application/json" }).end("not json") && undefined,
  );
  await using gateway = await startGateway({ upstreams: [upstream] });
  expect(await (await gateway.chat("key")).text()).toBe("not json");
  const [span] = await gateway.spans();
  expect(span?.attributes["gen_ai.input.messages"]).toBeDefined();
  expect(span?.attributes["gen_ai.output.messages"]).toBeUndefined();
  await upstream.close();
});

test("a compressed request body is refused, since its model name cannot be seen", async () => {
  const upstream = await startUpstream(echo);
  await using gateway = await startGateway({ upstreams: [upstream] });
  expect((await gateway.chat("key", {}, { "content-encoding": "gzip" })).status).toBe(415);
  await upstream.close();
});

test.each([
  { what: "fails", sendSpans: () => Promise.reject(new Error("down")) },
  {
    what: "throws",
    sendSpans: () => {
      throw new Error("down");
    },
  },
])("an export that $what costs no call", async ({ sendSpans }) => {
  const upstream = await startUpstream(echo);
  await using gateway = await startGateway({ upstreams: [upstream], sendSpans });
  for (let call = 0; call < 3; call++) expect((await gateway.chat(`key-${call}`)).status).toBe(200);
  await gateway.close();
  await upstream.close();
});

test("captured calls reach the collector's OTLP endpoint, at the latest when the gateway closes", async () => {
  const upstream = await startUpstream(echo);
  const bodies: Buffer[] = [];
  const collector = createServer((request, response) => {
    request.on("data", (chunk: Buffer) => bodies.push(chunk));
    request.on("end", () => response.writeHead(request.url === "/v1/traces" ? 200 : 404).end());
  });
  await new Promise<void>((resolve) => {
    collector.listen(0, "127.0.0.1", resolve);
  });
  const { port } = collector.address() as AddressInfo;
  const sendSpans = createSendSpans({ collectorUrl: `http://127.0.0.1:${port}/` });
  await using gateway = await startGateway({ upstreams: [upstream], sendSpans });
  await gateway.chat("a-key-to-find");
  await gateway.close();
  const sent = Buffer.concat(bodies).toString("latin1");
  for (const word of ["nightshift.gateway", "shop-agent", "a-key-to-find", "gen_ai.output.messages"]) expect(sent).toContain(word);
  collector.closeAllConnections();
  collector.close();
  await upstream.close();
});
