import { describe, expect, test } from "vitest";
import { PROVING } from "../../src/serving/adapter-bring-up.ts";
import { A, B, broughtUp, createFixture, ERROR, FIGURES } from "./adapter-agent-fixture.ts";

describe("the adapter agent", () => {
  test("loads, proves and attests what is wanted, once", async () => {
    const { agent, replica, reports } = createFixture();
    agent.want([A, B]);
    await agent.reconcile();
    await agent.reconcile();
    expect(replica.log).toEqual([...broughtUp(A.name), ...broughtUp(B.name)]);
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
    expect(replica.log).toEqual([...broughtUp(A.name), `prove ${A.name}`]);
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
    expect(replica.log).toEqual([`load ${A.name}${PROVING}`, `prove ${A.name}${PROVING}`, `unload ${A.name}${PROVING}`]);
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

  test("a proof that could not be made is repeated after a pause, and nothing can be called meanwhile", async () => {
    const { agent, replica, fixture } = createFixture();
    fixture.proofs.set(A.name, { status: "retryable", retryAfterMs: 1, error: ERROR });
    agent.want([A]);
    await agent.reconcile();
    expect(replica.served()).toEqual([`${A.name}${PROVING}`]);
    await agent.reconcile();
    expect(replica.served()).toEqual([]);
    fixture.proofs.delete(A.name);
    fixture.nowMs += 1_000;
    await agent.reconcile();
    expect(replica.log.slice(-4)).toEqual(broughtUp(A.name));
    expect(replica.served()).toEqual([A.name]);
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
    expect(replica.log).toEqual(broughtUp(A.name));
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

  test("says what the proofs say of the base, of the process that runs now, and whatever becomes of the adapter", async () => {
    const { agent, replica, fixture } = createFixture();
    expect(agent.base()).toBe("pending");
    agent.want([]);
    await agent.reconcile();
    expect(agent.base()).toBe("untested");
    agent.want([A]);
    await agent.reconcile();
    expect(agent.base()).toBe("proven");
    replica.goDown(true);
    await agent.reconcile();
    expect(agent.base()).toBe("pending");
    replica.goDown(false);
    replica.restart();
    fixture.proofs.set(A.name, { status: "refused", reason: "wrong_base", figures: FIGURES });
    await agent.reconcile();
    expect(agent.base()).toBe("another");
    expect(replica.served()).toEqual([]);
    agent.want([]);
    await agent.reconcile();
    expect(agent.base()).toBe("another");
  });

  test.each([
    { what: "is made but does not convince", proof: { status: "refused", reason: "off_scale", figures: FIGURES } as const, base: "proven" },
    { what: "cannot be made now", proof: { status: "retryable", retryAfterMs: 1, error: ERROR } as const, base: "pending" },
    { what: "has too few tokens", proof: { status: "refused", reason: "too_few_probes", figures: FIGURES } as const, base: "untested" },
  ])("of the base, a proof that $what says: $base", async ({ proof, base }) => {
    const { agent, fixture } = createFixture();
    fixture.proofs.set(A.name, proof);
    agent.want([A]);
    await agent.reconcile();
    expect(agent.base()).toBe(base);
  });

  test("passes that are started together do the work once", async () => {
    const { agent, replica } = createFixture();
    agent.want([A]);
    await Promise.all([agent.reconcile(), agent.reconcile(), agent.reconcile()]);
    expect(replica.log).toEqual(broughtUp(A.name));
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
