import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { echo, startUpstream } from "./fake-upstream.ts";
import { startGateway } from "./gateway-fixture.ts";

test("replicas that are busy let a bounded number wait: the next gets 429, one that waits too long 503", async () => {
  const { promise: release, resolve: onRelease } = Promise.withResolvers<void>();
  const { promise: asked, resolve: onAsked } = Promise.withResolvers<void>();
  const upstream = await startUpstream(async (request, response) => {
    onAsked();
    await release;
    await echo(request, response);
  });
  await using gateway = await startGateway({ upstreams: [upstream], gateway: { maxConcurrency: 1, maxQueue: 1, queueTimeoutMs: 200 } });
  const running = gateway.chat("a");
  await asked;
  const others = await Promise.all([gateway.chat("b"), gateway.chat("c")]);
  expect(others.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([429, 503]);
  expect(others.every(({ headers }) => headers.has("retry-after"))).toBe(true);
  onRelease();
  expect((await running).status).toBe(200);
  expect((await gateway.chat("d")).status).toBe(200);
  await upstream.close();
});

test("a client that leaves the queue leaves its place to the next", async () => {
  const { promise: release, resolve: onRelease } = Promise.withResolvers<void>();
  const { promise: asked, resolve: onAsked } = Promise.withResolvers<void>();
  const upstream = await startUpstream(async (request, response) => {
    onAsked();
    await release;
    await echo(request, response);
  });
  await using gateway = await startGateway({ upstreams: [upstream], gateway: { maxConcurrency: 1, maxQueue: 1 } });
  const running = gateway.chat("a");
  await asked;
  // A call that gets no answer for a while waits in the queue; one that finds it full is answered at once.
  const isQueued = (call: Promise<unknown>) => Promise.race([call.then(() => false), sleep(50, true)]);
  const leaving = new AbortController();
  const left = gateway.chat("b", {}, {}, leaving.signal).catch(() => "left");
  while (await isQueued(gateway.chat("c", {}, {}, AbortSignal.timeout(100)).catch(() => null)));
  leaving.abort();
  expect(await left).toBe("left");
  let next = gateway.chat("d");
  while (!(await isQueued(next))) next = gateway.chat("d");
  onRelease();
  expect((await running).status).toBe(200);
  expect((await next).status).toBe(200);
  expect(upstream.seen.length).toBe(2);
  await upstream.close();
});
