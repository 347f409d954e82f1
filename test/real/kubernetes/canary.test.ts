import type { V1DeploymentList, V1Job } from "@kubernetes/client-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createAttestationStore } from "../../../src/serving/attestation-store.ts";
import { createRunStore } from "../../../src/training/run-store.ts";
import { until } from "../../e2e/processes.ts";
import { chart } from "../../helm/objects.ts";
import { looksAt, type CanaryLooks } from "./canary-looks.ts";
import { startCanaryRelease, type CanaryRelease } from "./canary-release.ts";
import { LEASE_MS, NAMESPACE, RELEASE } from "./canary-values.ts";
import { candidacies, followTerms, holdRoutes, sessionState, waitingForRoutes } from "./leadership.ts";
import { askOnce, startSteadyCalls, type SteadyCalls } from "./steady-calls.ts";
import { answersBeforeProof, answersOf, seenBy } from "./witnessed-server.ts";

const CANARY = "shop-1";
/** Agents whose replicas are only told of. */
const TOLD = ["rewritten", "routed", "gated"];
const SERVERS = [`${RELEASE}-vllm-0`, `${RELEASE}-vllm-1`];
/** How long the last word of a leader may have been on its way into the database. The database gives a silent leader's lock away after 13 s at the earliest. */
const MARGIN_MS = 3_000;

let release: CanaryRelease;
let looks: CanaryLooks;
let steady: SteadyCalls;

beforeAll(async () => {
  release = await startCanaryRelease();
  looks = looksAt(release);
  const gatewayUrl = `${await release.addressOf("gateway")}:8080`;
  await release.submitCandidate(CANARY);
  await until("the gateway answers", 60_000, async () => ((await askOnce(gatewayUrl, "shop")).status === 200 ? true : null));
  steady = startSteadyCalls(gatewayUrl, "shop");
}, 400_000);
afterAll(async () => {
  await steady?.stop();
  await release?.close();
});

/** What this server's present process has answered as the candidate. */
function candidateAnswers(pod: string): number {
  return answersOf(seenBy(release.cluster, NAMESPACE, pod).at(-1) ?? [], release.candidate.name).length;
}

/** Of everything so far: each call had its answer, by the model that the gateway names, and no process of a policy server answered as the candidate before it had proven it. */
async function expectServedRightly(): Promise<void> {
  const { candidate, database, cluster } = release;
  const calls = [...steady.calls];
  expect(calls.length).toBeGreaterThan(20);
  expect(calls.filter(({ status }) => status !== 200)).toEqual([]);
  expect(calls.filter(({ digest, model }) => model !== (digest === candidate.digest ? candidate.name : "shop"))).toEqual([]);
  const processes = SERVERS.flatMap((pod) => seenBy(cluster, NAMESPACE, pod));
  expect(processes.flatMap((process) => answersBeforeProof(process, candidate.name))).toEqual([]);
  const reports = await createAttestationStore(database).list(candidate.digest);
  for (const name of SERVERS.filter((pod) => candidateAnswers(pod) > 0)) {
    const { metadata } = await release.pod(name);
    expect(reports).toContainEqual(expect.objectContaining({ replica: name, instance: metadata?.uid, status: "attested" }));
  }
}

/** Nothing has ended it. What did stands in the difference: the log's rows but units, and what replicas said of the adapter. */
async function expectInCanary(): Promise<void> {
  const { candidate, database, experiments } = release;
  const rows = await experiments.evidence(CANARY, 0);
  const ended = rows.filter(({ kind }) => kind === "attestation_lost" || kind === "operator");
  const reports = await createAttestationStore(database).list(candidate.digest);
  const unproven = reports.filter(({ status }) => status !== "attested");
  expect({ state: (await experiments.get(CANARY))?.state, ended, unproven }).toEqual({ state: "canary", ended: [], unproven: [] });
}

/** Two canaries have their shares in the cluster's objects. */
async function expectWeights(): Promise<void> {
  await until("two canaries are in the cluster's objects", 60_000, async () =>
    (await looks.targets()).length === 2 && (await looks.backends()).length === 2 ? true : null,
  );
  expect([await looks.targets(), await looks.backends()]).toEqual([
    ["rewritten", "rewritten-2"],
    ["routed", "routed-2"],
  ]);
}

test(
  "a replica that scaling adds in mid-canary: no call fails, and it answers as the candidate once it has proven it",
  { timeout: 180_000 },
  async () => {
    await until("the one replica answers both arms", 60_000, () => (candidateAnswers(`${RELEASE}-vllm-0`) > 3 ? true : null));
    await release.cluster.kubectl(["scale", "statefulset", `${RELEASE}-vllm`, "--replicas=2", "--namespace", NAMESPACE]);
    await until("the new one answers as the candidate", 120_000, () => (candidateAnswers(`${RELEASE}-vllm-1`) > 3 ? true : null));
    await expectInCanary();
    await expectServedRightly();
  },
);

test(
  "a policy server's pod that is rescheduled in mid-canary: no call fails, and the next pod of its name proves the candidate anew",
  { timeout: 180_000 },
  async () => {
    const name = `${RELEASE}-vllm-0`;
    const before = await release.pod(name);
    const processes = seenBy(release.cluster, NAMESPACE, name).length;
    await release.cluster.kubectl(["delete", "pod", name, "--wait=false", "--namespace", NAMESPACE]);
    const after = await until("another pod of its name is there", 60_000, async () => {
      const pod = await release.pod(name);
      return pod.metadata?.uid !== before.metadata?.uid && pod.status?.podIP !== undefined ? pod : null;
    });
    expect(after.status?.podIP).not.toBe(before.status?.podIP);
    const answered = (): number => (seenBy(release.cluster, NAMESPACE, name).length > processes ? candidateAnswers(name) : 0);
    await until("it answers as the candidate, or the canary has ended", 120_000, async () =>
      answered() > 3 || (await release.experiments.get(CANARY))?.state !== "canary" ? true : null,
    );
    await expectInCanary();
    await expectServedRightly();
  },
);

test("two triggers of a CronJob at once: both are well, and there never are two nights", { timeout: 120_000 }, async () => {
  const { cluster, database } = release;
  const names = ["at-once-1", "at-once-2"];
  const trigger = (name: string): Promise<string> =>
    cluster.kubectl(["create", "job", name, `--from=cronjob/${RELEASE}-run-shop`, "--namespace", NAMESPACE]);
  await Promise.all(names.map(trigger));
  for (const name of names) {
    await until(`job ${name} is complete`, 90_000, async () => {
      const { status } = await cluster.api.get<V1Job>(`/apis/batch/v1/namespaces/${NAMESPACE}/jobs/${name}`);
      return status?.conditions?.some((condition) => condition.type === "Complete" && condition.status === "True") ? true : null;
    });
  }
  const runs = createRunStore(database, Date.now);
  const nights = await until("every night is over", 60_000, async () => {
    const all = await runs.list({ agent: "shop", limit: 10 });
    return all.every(({ state }) => state !== "running") ? all.toReversed() : null;
  });
  expect(nights.map(({ state, outcome }) => `${state} ${outcome?.kind}`)).toEqual(nights.map(() => "finished nothing_to_learn"));
  expect([1, 2]).toContain(nights.length);
  // The second trigger found the first one's night in progress, or over.
  const [first, second] = nights;
  if (second !== undefined) expect(second.startedAtMs).toBeGreaterThanOrEqual(first?.finishedAtMs ?? Number.POSITIVE_INFINITY);
});

test(
  "a leader that is frozen with a write half done: another leads, and when it wakes it decides nothing, writes nothing and follows",
  { timeout: 180_000 },
  async () => {
    const { cluster, candidate } = release;
    const before = await until("the Lease says who leads", 60_000, async () => {
      const named = await release.leader();
      return (await looks.controlOf(named.pod)).role === "leader" ? named : null;
    });
    const terms = await followTerms(release);
    const letGo = await holdRoutes("gated", release);
    await release.submitTold("gated", 1);
    const session = await until(
      "the leader waits for the row of its routes",
      60_000,
      async () => (await waitingForRoutes(release))[0] ?? null,
    );
    const thaw = cluster.node.freeze(NAMESPACE, before.pod, "serve");
    const frozenMs = Date.now();
    await letGo();
    await until("it has locked the row that it is going to write", 10_000, async () =>
      (await sessionState(session, release)) === "idle in transaction" ? true : null,
    );
    const next = await until("another leads", 90_000, async () => {
      const now = await release.leader();
      return now.term > before.term ? now : null;
    });
    expect(next.pod).not.toBe(before.pod);
    const begun = await until("that one begins the canary", 60_000, async () => {
      const routes = await looks.routesOf("gated");
      return routes.candidate?.weight === 0.5 ? routes : null;
    });
    expect(begun).toMatchObject({ experimentId: "gated-1" });
    await until("a gateway beside an agent serves both arms", 60_000, async () =>
      (await looks.answering("early")).has("gated-1") ? true : null,
    );

    await looks.act(next.pod, "gated-1", "rollback");
    const ended = await until("it is rolled back", 60_000, async () => {
      const routes = await looks.routesOf("gated");
      return routes.experimentId === null ? routes : null;
    });
    expect(await sessionState(session, release)).toBeNull();
    const thawedMs = Date.now();
    thaw();
    await until("the woken one's term is over, and it stands for the next", 60_000, async () =>
      (await candidacies(release)) === 2 ? true : null,
    );
    await until("it knows whom it follows", 30_000, async () => {
      const { role, leader } = await looks.controlOf(before.pod);
      return role === "follower" && leader?.epoch === next.term ? true : null;
    });
    expect(await looks.controlOf(next.pod)).toMatchObject({ role: "leader" });
    // Its turn went on where it had been stopped, in a session that the database had ended.
    const said = looks.saidSince(before.pod, thawedMs);
    expect(said).toContain("leadership lost");
    expect(said).not.toContain("routes set");
    expect(said).not.toContain("experiment moved");
    expect(await looks.routesOf("gated")).toEqual(ended);
    expect(await looks.movesOf("gated-1")).toEqual(["submitted", "enqueued", "slot_free", "attested", "operator_rolled_back"]);
    expect(terms.stop()).toEqual([`${before.pod} ${before.term}`, `${next.pod} ${next.term}`]);
    expect([...(await looks.answering("after"))]).toEqual(["gated"]);

    // The other canary: on stable while nobody led, and gone on since.
    const alone = steady.calls.filter(({ beganAtMs }) => beganAtMs > frozenMs + LEASE_MS + MARGIN_MS && beganAtMs < next.sinceMs);
    expect(alone.length).toBeGreaterThan(3);
    expect(alone.filter(({ digest }) => digest === candidate.digest)).toEqual([]);
    await until("the canary goes on", 60_000, () =>
      steady.calls.some(({ beganAtMs, digest }) => beganAtMs > next.sinceMs && digest === candidate.digest) ? true : null,
    );
    await expectInCanary();
    await expectServedRightly();
  },
);

test(
  "an upgrade of the chart in mid-canary: the same canaries with the same weights, no call fails, and what the chart has not made stays",
  { timeout: 300_000 },
  async () => {
    for (const agent of TOLD) await release.submitTold(agent, 2);
    await expectWeights();
    await until("a gateway beside an agent serves both arms", 60_000, async () =>
      (await looks.answering("old")).size === 2 ? true : null,
    );
    const canaries = () => Promise.all([CANARY, ...TOLD.map((agent) => `${agent}-2`)].map((id) => release.experiments.get(id)));
    const routes = () => Promise.all(["shop", "gated"].map((agent) => looks.routesOf(agent)));
    const kept = async () => ({
      ...{ canaries: await canaries(), routes: await routes(), others: await looks.others() },
      // They do not read what changes here.
      servers: await looks.podsOf("vllm"),
    });
    await expectInCanary();
    const before = await kept();
    expect(before.canaries.map((canary) => canary?.state)).toEqual(before.canaries.map(() => "canary"));
    const [serve, gateways] = [await looks.podsOf("serve"), await looks.podsOf("gateway")];

    // It was scaled by hand: that hand owns the number, and Helm refuses to take it over unless told to.
    const scaled = ["--set", "vllm.replicas=2", "--force-conflicts"];
    const change = ["--values", release.values, "--set", "config.gateway.drainMs=20000", ...scaled];
    await release.cluster.helm(["upgrade", RELEASE, chart, "--namespace", NAMESPACE, ...change, "--wait", "--timeout", "150s"]);
    await until("only pods with the new config are left", 90_000, async () => {
      const names = Object.keys({ ...(await looks.podsOf("serve")), ...(await looks.podsOf("gateway")) });
      return names.length === 3 && names.every((name) => !(name in serve) && !(name in gateways)) ? true : null;
    });
    const upgradedMs = Date.now();
    await until("the canary goes on through the new gateway", 60_000, () =>
      steady.calls.some(({ beganAtMs, digest }) => beganAtMs > upgradedMs && digest === release.candidate.digest) ? true : null,
    );
    await until("so does the one beside the agent", 60_000, async () => ((await looks.answering("new")).size === 2 ? true : null));
    expect(await kept()).toEqual(before);
    await expectWeights();
    await expectServedRightly();
  },
);

test(
  "uninstall in mid-canary: all traffic is on stable when it returns, whatever splits it; what outlives the release falls back by its lease",
  { timeout: 240_000 },
  async () => {
    const { cluster, experiments } = release;
    await steady.stop();
    await until("a gateway beside an agent serves both arms", 60_000, async () =>
      (await looks.answering("again")).size === 2 ? true : null,
    );
    // Its turn would come as soon as the running one is over.
    await release.submitTold("rewritten", 3);
    await until("it waits", 30_000, async () => ((await experiments.get("rewritten-3"))?.state === "queued" ? true : null));

    await cluster.helm(["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", "--timeout", "120s"]);
    expect([await looks.targets(), await looks.backends()]).toEqual([["rewritten"], ["routed"]]);
    const left = await cluster.api.get<V1DeploymentList>(`/apis/apps/v1/namespaces/${NAMESPACE}/deployments`);
    expect(left.items).toEqual([]);

    const goneMs = performance.now();
    await until("the gateway's lease ends the candidate", 30_000, async () =>
      (await looks.answering("late")).has("gated-2") ? null : true,
    );
    expect(performance.now() - goneMs).toBeLessThan(LEASE_MS + 10_000);
    expect([...(await looks.answering("afterwards"))]).toEqual(["gated"]);

    // What a next install finds: both ended by whoever uninstalled, and nobody in the queue.
    for (const id of ["rewritten-2", "routed-2"])
      expect(await experiments.evidence(id, 0)).toContainEqual(
        expect.objectContaining({ kind: "operator", action: "rollback", actor: "helm uninstall" }),
      );
    expect(await experiments.get("rewritten-3")).toMatchObject({ state: "superseded" });
    expect([await looks.targets(), await looks.backends()]).toEqual([["rewritten"], ["routed"]]);
  },
);
