import { describe, expect, test } from "vitest";
import { silentLog } from "../../src/log.ts";
import { createDisturbanceOutbox } from "../../src/serving/disturbance.ts";
import { pollRoutes } from "../../src/serving/route-poll.ts";
import { createRouteTable } from "../../src/serving/route-table.ts";
import { echo, sendJson, sendRoutes, startUpstream, type Answerer } from "./fake-upstream.ts";
import { CANDIDATE, experiment, STABLE, startGateway } from "./gateway-fixture.ts";

const LEASE_MS = 15_000;

/** A gateway's table that polls a control service, on a clock that the test sets. `answer` gets every request but the first, which is answered with routes. */
async function polling(answer: Answerer, options: { firstConfirmedMs?: number | null } = {}) {
  const clock = { nowMs: 0 };
  const monotonicMs = () => clock.nowMs;
  const control = await startUpstream((request, response) => {
    const version = new URL(request.url, "http://x").searchParams.get("version");
    return version === "0" ? sendRoutes(response, experiment(1), options.firstConfirmedMs ?? 0) : answer(request, response);
  });
  const disturbances = createDisturbanceOutbox({ monotonicMs });
  const log = silentLog();
  const lapsed = (agent: string) => disturbances.note(agent, "lease_lapse");
  const table = await createRouteTable({ leaseMs: LEASE_MS }, { monotonicMs, log, onLapse: lapsed });
  const stop = new AbortController();
  const config = { controlUrl: `${control.url}/`, agents: ["shop"], waitMs: 5_000, token: "role-token" };
  const start = () => pollRoutes(config, { table, disturbances, log, monotonicMs }, { signal: stop.signal });
  return {
    ...{ clock, table, disturbances, start, seen: control.seen },
    weight: () => table.effective("shop")?.weight,
    async end(running: Promise<void>) {
      stop.abort();
      await running;
      await control.close();
    },
  };
}

/** Lets the test answer one request after the other. */
function byHand() {
  const waiting: { url: string; response: Parameters<Answerer>[1] }[] = [];
  const arrived: ((one: (typeof waiting)[number]) => void)[] = [];
  const answer: Answerer = ({ url }, response) => {
    const next = arrived.shift();
    if (next === undefined) waiting.push({ url, response });
    else next({ url, response });
  };
  return {
    answer,
    next: () =>
      new Promise<(typeof waiting)[number]>((resolve) => {
        const one = waiting.shift();
        if (one === undefined) arrived.push(resolve);
        else resolve(one);
      }),
  };
}

describe("the control plane", () => {
  test("killed in the middle of an experiment: the candidate's lease lapses, stable keeps being answered", async () => {
    let nowMs = 0;
    const monotonicMs = () => nowMs;
    const upstream = await startUpstream(echo);
    const polledTwice = Promise.withResolvers<void>();
    const control = await startUpstream(({ url }, response) => {
      if (new URL(url, "http://x").searchParams.get("version") === "0") sendRoutes(response, experiment(1));
      else polledTwice.resolve();
    });
    await using gateway = await startGateway({ upstreams: [upstream], monotonicMs });
    const stop = new AbortController();
    const running = pollRoutes(
      { controlUrl: control.url, agents: ["shop"], waitMs: 5_000 },
      { table: gateway.routes, disturbances: createDisturbanceOutbox({ monotonicMs }), log: silentLog(), monotonicMs },
      { signal: stop.signal },
    );
    await polledTwice.promise;
    const modelOf = async (key: string) => ((await (await gateway.chat(key)).json()) as { model: string }).model;
    expect(await modelOf("open")).toBe(CANDIDATE.name);
    await control.close();
    nowMs = LEASE_MS;
    expect(await modelOf("open")).toBe(STABLE.name);
    expect(await modelOf("new")).toBe(STABLE.name);
    stop.abort();
    await running;
    const spans = await gateway.spans();
    expect(
      spans.map(({ attributes }) => [attributes["nightshift.assignment.key"], attributes["nightshift.assignment.probability"]]),
    ).toEqual([
      ["open", 1],
      ["open", 1],
      ["new", 0],
    ]);
    await upstream.close();
  });

  test.each([
    { what: "nothing is new, and the leader said so just now", status: 204, afterMs: 10_000, held: true },
    { what: "nothing is new, and the leader said so before the request", status: 204, afterMs: -1_000, held: false },
    { what: "nothing is new, of a replica that knows of no leader", status: 204, afterMs: null, held: false },
    { what: "an error, whatever its headers", status: 500, afterMs: 10_000, held: false },
  ])("$what: the lease is held on: $held", async ({ status, afterMs, held }) => {
    const hand = byHand();
    const gateway = await polling(hand.answer);
    const running = gateway.start();
    const second = await hand.next();
    gateway.clock.nowMs = 10_000;
    if (status === 204) sendRoutes(second.response, null, afterMs);
    else sendJson(second.response, experiment(1), status);
    await hand.next();
    gateway.clock.nowMs = LEASE_MS + 1;
    expect(gateway.weight()).toBe(held ? 1 : 0);
    await gateway.end(running);
  });

  test("routes that come without a leader's word are taken over, and the candidate gets nothing", async () => {
    const hand = byHand();
    const gateway = await polling(hand.answer, { firstConfirmedMs: -LEASE_MS });
    const running = gateway.start();
    await hand.next();
    expect(gateway.table.version("shop")).toBe(1);
    expect(gateway.weight()).toBe(0);
    await gateway.end(running);
  });
});

describe("disturbances", () => {
  test("are told, with their age, before a lease is renewed", async () => {
    const hand = byHand();
    const gateway = await polling(hand.answer);
    const running = gateway.start();
    const second = await hand.next();
    gateway.clock.nowMs = LEASE_MS;
    expect(gateway.weight()).toBe(0);
    gateway.clock.nowMs = LEASE_MS + 500;
    sendRoutes(second.response, null, null);

    const told = await hand.next();
    expect(told.url).toBe("/v1/disturbances");
    expect(gateway.seen.at(-1)).toMatchObject({
      headers: { authorization: "Bearer role-token" },
      body: { agent: "shop", cause: "lease_lapse", agoMs: 500 },
    });
    // Refused: routes go on, the lease does not.
    sendJson(told.response, {}, 503);
    const untold = await hand.next();
    expect(untold.url).toContain("waitMs=0");
    sendRoutes(untold.response, experiment(1, { version: 2 }), 0);
    const again = await hand.next();
    expect(again.url).toBe("/v1/disturbances");
    expect([gateway.table.version("shop"), gateway.weight()]).toEqual([2, 0]);

    sendJson(again.response, {}, 202);
    sendRoutes((await hand.next()).response, null, 0);
    await hand.next();
    expect(gateway.weight()).toBe(1);
    await gateway.end(running);
  });
});
