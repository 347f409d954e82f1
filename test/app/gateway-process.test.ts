import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
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
