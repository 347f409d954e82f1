import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { holdReplicas, type HeldReplicas, type ReplicaAddress } from "../../src/serving/replica-source.ts";
import { echo, sendJson, startUpstream } from "./fake-upstream.ts";
import { CANDIDATE, experiment, startGateway } from "./gateway-fixture.ts";

type Upstream = Awaited<ReturnType<typeof startUpstream>>;

let pods: Upstream[];
let service: Upstream;
let replicas: HeldReplicas;
beforeEach(async () => {
  pods = await Promise.all([startUpstream(echo), startUpstream(echo), startUpstream(echo)]);
  service = await startUpstream(echo);
  replicas = holdReplicas();
});
afterEach(async () => {
  await Promise.all([...pods, service].map((one) => one.close()));
});

const address = (index: number, change: Partial<ReplicaAddress> = {}): ReplicaAddress => ({
  ...{ name: `vllm-${index}`, url: pods[index]?.url ?? "", readinessUrl: null, uid: `uid-${index}`, isReady: true },
  ...change,
});
const start = (weight = 0) => startGateway({ upstreams: [{ url: service.url, isReady: false }], replicas, routes: experiment(weight) });

/** Who answers, seen by twelve calls in a row: pods by their index, the Service as "service". */
async function answering(gateway: Awaited<ReturnType<typeof start>>): Promise<(number | "service")[]> {
  const all = [...pods, service];
  const before = all.map(({ seen }) => seen.length);
  for (let call = 0; call < 12; call++) expect((await gateway.chat(`key-${call}`)).status).toBe(200);
  return all.flatMap(({ seen }, index) => (seen.length > (before[index] ?? 0) ? [index < pods.length ? index : "service"] : []));
}

test("replicas come and go while calls are made; a pod that is not ready gets none; with none left the Service itself is asked", async () => {
  await using gateway = await start();
  expect(await answering(gateway)).toEqual(["service"]);
  replicas.set([address(0)]);
  expect(await answering(gateway)).toEqual([0]);
  replicas.set([address(0), address(1), address(2, { isReady: false })]);
  expect(await answering(gateway)).toEqual([0, 1]);
  replicas.set([address(1), address(2)]);
  expect(await answering(gateway)).toEqual([1, 2]);
  replicas.set([address(2, { isReady: false })]);
  expect((await answering(gateway)).every((who) => who !== 0 && who !== 1)).toBe(true);
  replicas.set([]);
  expect(await answering(gateway)).toEqual(["service"]);
});

test("a call that is under way on a pod that leaves the list ends as if nothing had happened", async () => {
  const finish = Promise.withResolvers<null>();
  const slow = await startUpstream(async (_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("data: first\n\n");
    await finish.promise;
    response.end("data: [DONE]\n\n");
  });
  try {
    replicas.set([address(0, { url: slow.url })]);
    await using gateway = await start();
    const answer = await gateway.chat("key", { stream: true });
    replicas.set([address(1)]);
    expect(await answering(gateway)).toEqual([1]);
    finish.resolve(null);
    expect(await answer.text()).toBe("data: first\n\ndata: [DONE]\n\n");
  } finally {
    await slow.close();
  }
});

test("calls that wait for a free replica get the one that joins", async () => {
  const never = await startUpstream(() => undefined);
  try {
    replicas.set([address(0, { url: never.url })]);
    await using gateway = await startGateway({ upstreams: [], replicas, routes: experiment(0), gateway: { maxConcurrency: 1 } });
    const hanging = gateway.chat("first").catch(() => null);
    await vi.waitFor(() => expect(never.seen).toHaveLength(1), { timeout: 10_000 });
    const waiting = gateway.chat("second");
    replicas.set([address(0, { url: never.url }), address(1)]);
    expect((await waiting).status).toBe(200);
    await never.close();
    await hanging;
  } finally {
    await never.close();
  }
});

test("a new pod without the candidate answers no call of it, and no call fails for that", async () => {
  const without = await startUpstream((request, response) => {
    if (request.body["model"] === CANDIDATE.name) sendJson(response, { error: { message: "no such model" } }, 404);
    else return echo(request, response);
  });
  try {
    replicas.set([address(0), address(1, { url: without.url })]);
    await using gateway = await start(1);
    for (let call = 0; call < 20; call++) {
      const answer = await gateway.chat(`key-${call}`);
      expect(answer.status).toBe(200);
      expect(answer.headers.get("x-nightshift-adapter")).toBe(CANDIDATE.digest);
    }
    expect(pods[0]?.seen).toHaveLength(20);
  } finally {
    await without.close();
  }
});

test("while no adapter agent has said that a pod may, another answers; what it says of a pod stands while the list changes", async () => {
  const agent = await startUpstream((_, response) => sendJson(response, { reason: "not attested", base: "pending" }, 503));
  try {
    replicas.set([address(0, { readinessUrl: `${agent.url}/ready` }), address(1)]);
    await using gateway = await start();
    await vi.waitFor(async () => expect(await answering(gateway)).toEqual([1]), { timeout: 10_000, interval: 100 });
    replicas.set([address(0, { readinessUrl: `${agent.url}/ready` }), address(1), address(2)]);
    expect(await answering(gateway)).toEqual([1, 2]);
  } finally {
    await agent.close();
  }
});
