import { afterEach, beforeEach, expect, test } from "vitest";
import { startUpstream } from "./fake-upstream.ts";
import { experiment, startGateway } from "./gateway-fixture.ts";

let finish: PromiseWithResolvers<null>;
let upstream: Awaited<ReturnType<typeof startUpstream>>;
beforeEach(async () => {
  finish = Promise.withResolvers();
  upstream = await startUpstream(async (_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("data: first\n\n");
    await finish.promise;
    response.end("data: [DONE]\n\n");
  });
});
afterEach(async () => {
  finish.resolve(null);
  await upstream.close();
});

const start = (drainMs: number) => startGateway({ upstreams: [{ url: upstream.url }], routes: experiment(0), gateway: { drainMs } });

test("a gateway that is told to stop takes no new call, and ends when the one under way has", async () => {
  await using gateway = await start(60_000);
  const answer = await gateway.chat("key", { stream: true });
  const startedMs = performance.now();
  const closing = gateway.close();
  await expect(fetch(`${gateway.url}/health`)).rejects.toThrow("fetch failed");
  finish.resolve(null);
  expect(await answer.text()).toBe("data: first\n\ndata: [DONE]\n\n");
  await closing;
  expect(performance.now() - startedMs).toBeLessThan(10_000);
});

test("a call that does not end in its time is cut, and the gateway ends", async () => {
  await using gateway = await start(200);
  const answer = await gateway.chat("key", { stream: true });
  const cut = answer.text().then(
    () => "whole",
    () => "cut",
  );
  await gateway.close();
  expect(await cut).toBe("cut");
});
