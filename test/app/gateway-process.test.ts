import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it, vi } from "vitest";
import { startGatewayProcess } from "../../src/app/gateway-process.ts";
import { parseConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import { echo, sendJson, sendRoutes, startUpstream } from "../serving/fake-upstream.ts";

const dir = mkdtempSync(join(tmpdir(), "nightshift-gateway-"));
afterAll(() => rmSync(dir, { recursive: true }));

const STABLE = { name: "shop-3-abc", digest: "sha256:stable" };
const routes = {
  ...{ agent: "shop", model: "shop", version: 7, generation: 2, stable: STABLE },
  ...{ candidate: null, experimentId: null, salt: null },
};

it("serves the last-known stable when the control service is dead, and again after a restart of its own", async () => {
  writeFileSync(join(dir, "config.json"), "{}");
  writeFileSync(join(dir, "model.safetensors"), "");
  const upstream = await startUpstream(echo);
  const polled = Promise.withResolvers<void>();
  const control = await startUpstream(({ url, headers }, response) => {
    const version = new URL(url, "http://control").searchParams.get("version");
    if (headers.authorization !== "Bearer gateway-token") sendJson(response, {}, 401);
    else if (url === "/v1/disturbances") sendJson(response, {}, 202);
    else if (version === "0") sendRoutes(response, routes);
    // The second poll stays open: by then the first answer is in the table.
    else polled.resolve();
  });
  const config = parseConfig({
    dataDir: join(dir, "data"),
    gateway: { port: 0, controlUrl: control.url },
    agents: { shop: { model: "shop", baseModel: dir, policyServers: [{ url: upstream.url }] } },
  });
  const start = () => startGatewayProcess(config, { log: silentLog(), token: "gateway-token" });
  const ask = async (port: number) => {
    const answer = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-session-id": "s" },
      body: JSON.stringify({ model: "shop", messages: [{ role: "user", content: "hello" }] }),
    });
    return { model: ((await answer.json()) as { model: string }).model, digest: answer.headers.get("x-nightshift-adapter") };
  };

  const first = await start();
  await polled.promise;
  const served = { model: STABLE.name, digest: STABLE.digest };
  expect(await ask(first.port)).toEqual(served);
  await control.close();
  expect(await ask(first.port)).toEqual(served);
  await first.close();

  const second = await start();
  expect(await ask(second.port)).toEqual(served);
  await second.close();
  await upstream.close();
});

it("calls the replicas that the control service tells it of, those it was told of while that is dead, and before that the Service", async () => {
  const [service, pod] = await Promise.all([startUpstream(echo), startUpstream(echo)]);
  const replica = (name: string, url: string) => ({ name, url, readinessUrl: null, uid: `uid-${name}`, isReady: true });
  let told: object | null = null;
  const control = await startUpstream(({ url }, response) => {
    if (url.startsWith("/v1/upstreams") && told !== null && !url.includes("known=")) sendJson(response, told);
    else if (!url.startsWith("/v1/upstreams") || told === null) sendJson(response, {}, 503);
  });
  const config = parseConfig({
    dataDir: join(dir, "discovered"),
    gateway: { port: 0, controlUrl: control.url },
    agents: {
      shop: {
        ...{ model: "shop", baseModel: "/not/here", baseModelDigest: `sha256:${"b".repeat(64)}` },
        policyServers: { discover: { service: "vllm", serviceUrl: service.url } },
      },
    },
  });
  const start = () => startGatewayProcess(config, { log: silentLog() });
  const call = async (port: number): Promise<void> => {
    const body = JSON.stringify({ model: "shop", messages: [{ role: "user", content: "hello" }] });
    const headers = { "content-type": "application/json" };
    const answer = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, { method: "POST", headers, body });
    expect(answer.status).toBe(200);
    expect(answer.headers.get("x-nightshift-adapter")).toBe(`sha256:${"b".repeat(64)}`);
  };

  const first = await start();
  await call(first.port);
  expect([service, pod].map(({ seen }) => seen.length)).toEqual([1, 0]);
  told = { agent: "shop", version: "v1", replicas: [replica("vllm-0", pod.url)] };
  await vi.waitFor(
    async () => {
      await call(first.port);
      expect(pod.seen.length).toBeGreaterThan(0);
    },
    { timeout: 15_000, interval: 100 },
  );
  await first.close();
  await control.close();

  const second = await start();
  const before = service.seen.length;
  for (let calls = 0; calls < 3; calls++) await call(second.port);
  expect(service.seen).toHaveLength(before);
  // Rescheduled while nobody could say so: the Service knows.
  await pod.close();
  for (let calls = 0; calls < 5; calls++) await call(second.port);
  expect(service.seen.length).toBeGreaterThan(before);
  await second.close();
  await service.close();
}, 60_000);
