import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { echo, sendJson, startUpstream } from "./fake-upstream.ts";
import { experiment, startGateway } from "./gateway-fixture.ts";

type Upstream = Awaited<ReturnType<typeof startUpstream>>;
/** What an adapter agent answers at `/ready`; null: nothing at all. */
type Says = { status: number; base: "proven" | "another" | "pending" | "untested" } | null;

const PROVEN: Says = { status: 200, base: "proven" };
const PENDING: Says = { status: 200, base: "pending" };
const UNTESTED: Says = { status: 200, base: "untested" };
const ANOTHER: Says = { status: 200, base: "another" };
const NOT_READY: Says = { status: 503, base: "pending" };

let upstreams: Upstream[];
let agents: Upstream[];
let says: Says[];
beforeEach(async () => {
  says = [UNTESTED, UNTESTED];
  upstreams = await Promise.all([startUpstream(echo), startUpstream(echo)]);
  agents = await Promise.all(
    [0, 1].map((index) =>
      startUpstream((_, response) => {
        const one = says[index] ?? null;
        if (one === null) response.socket?.destroy();
        else sendJson(response, { status: "…", base: one.base }, one.status);
      }),
    ),
  );
});
afterEach(async () => {
  await Promise.all([...upstreams, ...agents].map((one) => one.close()));
});

const start = () =>
  startGateway({
    upstreams: upstreams.map(({ url }, index) => ({ url, readinessUrl: `${agents[index]?.url}/ready` })),
    routes: experiment(0),
  });

/** Which of the replicas answers, seen by ten calls in a row. */
async function answering(gateway: Awaited<ReturnType<typeof start>>): Promise<number[]> {
  const before = upstreams.map(({ seen }) => seen.length);
  for (let call = 0; call < 10; call++) expect((await gateway.chat(`key-${call}`)).status).toBe(200);
  return [0, 1].filter((index) => (upstreams[index]?.seen.length ?? 0) > (before[index] ?? 0));
}

const BOTH = [0, 1];
test.each<[string, Says, Says, number[]]>([
  ["there was nothing to prove on either, as before the first adapter: both answer", UNTESTED, UNTESTED, BOTH],
  ["one is proven, on the other there was nothing to prove: both answer", PROVEN, UNTESTED, BOTH],
  ["one came back and is still to be proven: the other answers", UNTESTED, PENDING, [0]],
  ["one has another base: the other answers", PENDING, ANOTHER, [0]],
  ["one has not what stable answers with: the other answers", PENDING, NOT_READY, [0]],
  ["the adapter agent of one is down: both answer", PROVEN, null, BOTH],
  ["neither may: a call is still answered", NOT_READY, ANOTHER, BOTH],
])("%s", async (_, first, second, expected) => {
  says = [first, second];
  await using gateway = await start();
  await vi.waitFor(async () => expect(await answering(gateway)).toEqual(expected), { timeout: 10_000, interval: 100 });
});

test("a replica that becomes proven answers again", async () => {
  says = [PROVEN, PENDING];
  await using gateway = await start();
  await vi.waitFor(async () => expect(await answering(gateway)).toEqual([0]), { timeout: 10_000, interval: 100 });
  says = [PROVEN, PROVEN];
  await vi.waitFor(async () => expect(await answering(gateway)).toEqual(BOTH), { timeout: 10_000, interval: 100 });
});

test("the only replica that may answer breaks: its calls go to the other one at once, and none fails", async () => {
  says = [PROVEN, PENDING];
  await using gateway = await start();
  await vi.waitFor(async () => expect(await answering(gateway)).toEqual([0]), { timeout: 10_000, interval: 100 });
  await upstreams[0]?.close();
  expect(await answering(gateway)).toEqual([1]);
});
