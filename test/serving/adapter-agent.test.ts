import { describe, expect, test } from "vitest";
import { nightshiftError } from "../../src/errors.ts";
import { silentLog } from "../../src/log.ts";
import { createAdapterAgent } from "../../src/serving/adapter-agent.ts";
import type { DirectoryCheck } from "../../src/serving/adapter-bring-up.ts";
import type { AdapterReport } from "../../src/serving/adapter-report.ts";
import type { ProofResult } from "../../src/serving/attest.ts";
import type { AdapterLoadResult, PolicyServer } from "../../src/serving/policy-server.ts";

const A = { name: "shop-1-aaaaaaaaaaaa", digest: "sha256:aaaaaaaaaaaa" };
const B = { name: "shop-2-bbbbbbbbbbbb", digest: "sha256:bbbbbbbbbbbb" };
const FIGURES = { probeTokens: 300, slope: 1.01, t: 40, baseGap: 0.001 };
const ERROR = nightshiftError("policy_server_unavailable", { url: "http://x", problem: "busy" });

/** A replica whose process can restart: what it serves lives in memory, like vLLM's registry. */
function createReplica() {
  const log: string[] = [];
  const state: { process: string; loadResult: AdapterLoadResult } = { process: "boot-1", loadResult: { status: "loaded" } };
  let served = new Set<string>(["base", "operators-own"]);
  let isDown = false;
  const server: PolicyServer = {
    chat: () => Promise.reject(new Error("not used")),
    promptLogprobs: () => Promise.reject(new Error("not used")),
    models: () => Promise.resolve(isDown ? null : [...served].map((id) => ({ id, root: id, parent: id === "base" ? null : "base" }))),
    loadAdapter({ name }) {
      log.push(`load ${name}`);
      if (served.has(name)) return Promise.resolve({ status: "already_loaded" });
      if (state.loadResult.status === "loaded") served.add(name);
      return Promise.resolve(state.loadResult);
    },
    unloadAdapter(name) {
      log.push(`unload ${name}`);
      served.delete(name);
      return Promise.resolve();
    },
  };
  return Object.assign(state, {
    log,
    server,
    served: () => [...served].filter((name) => name !== "base" && name !== "operators-own"),
    restart() {
      served = new Set(["base", "operators-own"]);
      state.process = `boot-${Number(state.process.slice(5)) + 1}`;
    },
    goDown(down: boolean) {
      isDown = down;
    },
  });
}

function createFixture(agents?: readonly string[]) {
  const replica = createReplica();
  const reports: AdapterReport[] = [];
  const fixture = {
    replica,
    reports,
    nowMs: 0,
    checks: new Map<string, DirectoryCheck>(),
    proofs: new Map<string, ProofResult>(),
    isStored: true,
    isControlUp: true,
    said: () =>
      reports.map(
        (report) => `${report.status} ${report.name} ${report.instance}${report.status === "refused" ? ` ${report.reason}` : ""}`,
      ),
  };
  const agent = createAdapterAgent(
    { replica: "replica-1", intervalMs: 60_000, retryMs: 1_000, ...(agents === undefined ? {} : { agents }) },
    {
      policyServer: replica.server,
      fetchAdapter: (adapter) => Promise.resolve(fixture.isStored ? { directory: `/adapters/${adapter.name}` } : null),
      verify(directory) {
        const name = directory.slice("/adapters/".length);
        const digest = name === A.name ? A.digest : B.digest;
        return Promise.resolve(fixture.checks.get(name) ?? { status: "valid", name, digest });
      },
      prove(adapter) {
        replica.log.push(`prove ${adapter.name}`);
        return Promise.resolve(fixture.proofs.get(adapter.name) ?? { status: "active", figures: FIGURES });
      },
      instance: () => Promise.resolve(replica.process),
      publish(report) {
        if (!fixture.isControlUp) return Promise.reject(new Error("control plane down"));
        reports.push(report);
        return Promise.resolve();
      },
      now: () => 1_000,
      monotonicMs: () => fixture.nowMs,
      log: silentLog(),
    },
  );
  return { ...fixture, fixture, agent };
}

describe("the adapter agent", () => {
  test("loads, proves and attests what is wanted, once", async () => {
    const { agent, replica, reports } = createFixture();
    agent.want([A, B]);
    await agent.reconcile();
    await agent.reconcile();
    expect(replica.log).toEqual([`load ${A.name}`, `prove ${A.name}`, `load ${B.name}`, `prove ${B.name}`]);
    expect(reports[0]).toEqual({ ...A, replica: "replica-1", instance: "boot-1", atMs: 1_000, status: "attested", figures: FIGURES });
    expect(agent.isAttested(A.name) && agent.isAttested(B.name)).toBe(true);
  });

  test("does nothing before the first desired set: it would unload what is in use", async () => {
    const { agent, replica } = createFixture();
    await replica.server.loadAdapter({ name: A.name, path: "" });
    await agent.reconcile();
    expect(replica.served()).toEqual([A.name]);
  });

  test("proves an adapter that was loaded before the agent started, without loading it again", async () => {
    const { agent, replica, said } = createFixture();
    await replica.server.loadAdapter({ name: A.name, path: "" });
    replica.log.length = 0;
    agent.want([A]);
    await agent.reconcile();
    expect(replica.log).toEqual([`prove ${A.name}`]);
    expect(said()).toEqual([`attested ${A.name} boot-1`]);
  });

  test("unloads only what no route names, and never an operator's own adapter", async () => {
    const { agent, replica } = createFixture();
    agent.want([A, B]);
    await agent.reconcile();
    replica.log.length = 0;
    agent.want([B]);
    await agent.reconcile();
    expect(replica.log).toEqual([`unload ${A.name}`]);
    expect(agent.isAttested(A.name)).toBe(false);
  });

  test("leaves the adapters of other agents on a shared replica alone", async () => {
    const { agent, replica } = createFixture(["shop"]);
    for (const name of ["shop-1-aaaaaaaaaaaa", "shop-2-3-aaaaaaaaaaaa", "desk-1-aaaaaaaaaaaa"])
      await replica.server.loadAdapter({ name, path: "" });
    agent.want([]);
    await agent.reconcile();
    expect(replica.served()).toEqual(["shop-2-3-aaaaaaaaaaaa", "desk-1-aaaaaaaaaaaa"]);
  });

  test("heals a restarted server in one pass, with a new proof for the new process", async () => {
    const { agent, replica, said } = createFixture();
    agent.want([A]);
    await agent.reconcile();
    replica.restart();
    await agent.reconcile();
    expect(replica.served()).toEqual([A.name]);
    expect(said()).toEqual([`attested ${A.name} boot-1`, `attested ${A.name} boot-2`]);
  });

  test("does not trust the models list of another process: what is listed is proven again", async () => {
    const { agent, replica, said } = createFixture();
    agent.want([A]);
    await agent.reconcile();
    replica.process = "boot-2";
    await agent.reconcile();
    expect(replica.log).toEqual([`load ${A.name}`, `prove ${A.name}`, `prove ${A.name}`]);
    expect(said().at(-1)).toBe(`attested ${A.name} boot-2`);
  });

  test("says that an attested adapter is lost when it cannot be brought back", async () => {
    const { agent, replica, fixture, said } = createFixture();
    agent.want([A]);
    await agent.reconcile();
    replica.restart();
    fixture.isStored = false;
    await agent.reconcile();
    expect(agent.isAttested(A.name)).toBe(false);
    expect(said().at(-1)).toBe(`lost ${A.name} boot-2`);
    fixture.isStored = true;
    await agent.reconcile();
    expect(said().at(-1)).toBe(`lost ${A.name} boot-2`);
    fixture.nowMs += 1_000;
    await agent.reconcile();
    expect(said().at(-1)).toBe(`attested ${A.name} boot-2`);
  });

  test.each(["truncated", "another_base", "not_signed", "digest_mismatch"])(
    "refuses files that are %s before the server sees them",
    async (reason) => {
      const { agent, replica, fixture, said } = createFixture();
      fixture.checks.set(A.name, { status: "invalid", reason, detail: "d" });
      agent.want([A, B]);
      await agent.reconcile();
      await agent.reconcile();
      expect(said()).toEqual([`refused ${A.name} boot-1 ${reason}`, `attested ${B.name} boot-1`]);
      expect(replica.log).not.toContain(`load ${A.name}`);
    },
  );

  test("refuses sound files of another adapter: a name stands for one digest", async () => {
    const { agent, replica, fixture, said } = createFixture();
    fixture.checks.set(A.name, { status: "valid", name: A.name, digest: "sha256:cccc" });
    agent.want([A]);
    await agent.reconcile();
    expect(said()).toEqual([`refused ${A.name} boot-1 another_adapter`]);
    expect(replica.served()).toEqual([]);
  });

  test("takes an adapter that loads and does nothing out again, and does not try the same process twice", async () => {
    const { agent, replica, fixture, said } = createFixture();
    fixture.proofs.set(A.name, { status: "refused", reason: "no_effect", figures: { ...FIGURES, slope: 0, t: 0.1 } });
    agent.want([A]);
    await agent.reconcile();
    await agent.reconcile();
    expect(replica.log).toEqual([`load ${A.name}`, `prove ${A.name}`, `unload ${A.name}`]);
    expect(said()).toEqual([`refused ${A.name} boot-1 no_effect`]);
    expect(agent.isAttested(A.name)).toBe(false);
  });

  test.each([
    { what: "is rejected", result: { status: "rejected", error: ERROR } as const, said: [`refused ${A.name} boot-1 load_rejected`] },
    { what: "may be repeated", result: { status: "retryable", retryAfterMs: 1, error: ERROR } as const, said: [] },
  ])("a load that $what", async ({ result, said: expected }) => {
    const { agent, replica, fixture, said } = createFixture();
    replica.loadResult = result;
    agent.want([A]);
    await agent.reconcile();
    expect(said()).toEqual(expected);
    replica.loadResult = { status: "loaded" };
    fixture.nowMs += 1_000;
    await agent.reconcile();
    expect(agent.isAttested(A.name)).toBe(result.status === "retryable");
  });

  test("a proof that could not be made is repeated after a pause, without a second load", async () => {
    const { agent, replica, fixture } = createFixture();
    fixture.proofs.set(A.name, { status: "retryable", retryAfterMs: 1, error: ERROR });
    agent.want([A]);
    await agent.reconcile();
    await agent.reconcile();
    fixture.proofs.delete(A.name);
    fixture.nowMs += 1_000;
    await agent.reconcile();
    expect(replica.log).toEqual([`load ${A.name}`, `prove ${A.name}`, `prove ${A.name}`]);
    expect(agent.isAttested(A.name)).toBe(true);
  });

  test("a report is delivered when the control plane is back, without another proof", async () => {
    const { agent, replica, fixture, said } = createFixture();
    fixture.isControlUp = false;
    agent.want([A]);
    await agent.reconcile();
    expect(agent.isAttested(A.name)).toBe(true);
    fixture.isControlUp = true;
    await agent.reconcile();
    await agent.reconcile();
    expect(said()).toEqual([`attested ${A.name} boot-1`]);
    expect(replica.log).toEqual([`load ${A.name}`, `prove ${A.name}`]);
  });

  test("a server that does not answer is left alone until it does", async () => {
    const { agent, replica, said } = createFixture();
    replica.goDown(true);
    agent.want([A]);
    await agent.reconcile();
    expect(replica.log).toEqual([]);
    replica.goDown(false);
    await agent.reconcile();
    expect(said()).toEqual([`attested ${A.name} boot-1`]);
  });

  test("what was refused before the server was away is tried once more: nobody may tell that it is another process now", async () => {
    const { agent, replica, fixture, said } = createFixture();
    fixture.proofs.set(A.name, { status: "refused", reason: "wrong_base", figures: FIGURES });
    agent.want([A]);
    await agent.reconcile();
    replica.goDown(true);
    await agent.reconcile();
    replica.goDown(false);
    fixture.proofs.delete(A.name);
    await agent.reconcile();
    expect(said()).toEqual([`refused ${A.name} boot-1 wrong_base`, `attested ${A.name} boot-1`]);
  });

  test("passes that are started together do the work once", async () => {
    const { agent, replica } = createFixture();
    agent.want([A]);
    await Promise.all([agent.reconcile(), agent.reconcile(), agent.reconcile()]);
    expect(replica.log).toEqual([`load ${A.name}`, `prove ${A.name}`]);
  });

  test("its loop starts a pass when the desired set changes, and ends when it is told to", async () => {
    const { agent, replica } = createFixture();
    const stop = new AbortController();
    const running = agent.run({ signal: stop.signal });
    const { promise: loaded, resolve } = Promise.withResolvers<void>();
    const load = replica.server.loadAdapter.bind(replica.server);
    replica.server.loadAdapter = (adapter) => {
      resolve();
      return load(adapter);
    };
    agent.want([A]);
    await loaded;
    stop.abort();
    await running;
  });
});
