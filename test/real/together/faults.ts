import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import type { ExperimentView } from "../../../deploy/quickstart/control.ts";
import { gateDecides, nightFalls } from "../../../deploy/quickstart/night.ts";
import { createProgress } from "../../../deploy/quickstart/report.ts";
import { AGENT } from "../../../deploy/quickstart/settings.ts";
import { killNow } from "../../e2e/processes.ts";
import { startCaller, type Call, type Caller } from "./caller.ts";
import { LEASE_MS, type Production } from "./production.ts";

const LIMIT = { timeout: 90_000, interval: 100 };
/** serving.md's bar for a gateway that hears from a living control service. */
const DECISION_MS = 2_000;
const progress = createProgress((line) => process.stdout.write(`${line}\n`));

/**
 * One short night without a gate, and a canary at one half that decides nothing by itself while these tests last: not even on evidence. Calls of the candidate that met a dead
 * replica and were answered by stable are such evidence (guardrail `fallback`), and a fast machine makes enough of them.
 */
const SMALL = {
  night: {
    iterations: 1,
    scenarios: 12,
    groupSize: 6,
    seed: 1,
    lora: { rank: 8, alpha: 32 },
    learningRate: 1e-3,
    minibatches: 1,
    probe: { members: 0 },
  },
  gate: { enabled: false },
  canary: {
    ...{ mode: "non-inferior", delta: 0.5, lambda0: 0.5, ramp: [{ weight: 0.5 }], maxUnits: 100_000, lookEvery: 5, alpha: 1e-60 },
    ...{ dwellMs: 600_000, deadlineMs: 1_800_000, minCandidateUnits: 10_000 },
  },
};

/** Registers the tests of what fails around a canary, on a production that has served a day. */
export function describeFaults(running: () => Production): void {
  describe("with the candidate at one half", () => {
    let production: Production;
    let experiment: ExperimentView;
    let caller: Caller;
    beforeAll(async () => {
      production = running();
      await production.gateway({ upstreamTimeoutMs: 5_000 });
      await production.serve(SMALL);
      const run = await nightFalls(production.control, progress);
      expect(run).toMatchObject({ outcome: { kind: "candidate" } });
      await gateDecides(production.control, run, progress);
      experiment = await vi.waitFor(async () => {
        const { experiment: live } = await production.control.status();
        expect(live?.weight).toBe(0.5);
        return live as ExperimentView;
      }, LIMIT);
    }, 600_000);
    beforeEach(() => {
      caller = startCaller({ gateway: production.gatewayUrl, model: AGENT, lanes: 4 });
    });
    afterEach(async () => {
      await caller.stop();
    });

    const failed = (calls: readonly Call[]): Call[] => calls.filter(({ status }) => status !== 200);
    /** Answers whose header names another adapter than the one that the policy server says it used. */
    const wrong = (calls: readonly Call[]): Call[] => calls.filter(({ digest, model }) => modelOf(digest) !== model);
    const byCandidate = (calls: readonly Call[]): Call[] => calls.filter(({ digest }) => digest === experiment.candidate.digest);

    function modelOf(digest: string | null): string | null {
      const { candidate, stable } = experiment;
      return digest === candidate.digest ? candidate.name : digest === stable.digest ? stable.name : null;
    }

    async function bothArms(): Promise<void> {
      const from = caller.calls.length;
      await vi.waitFor(async () => {
        const recent = caller.calls.slice(from);
        const { experiment: live } = await production.control.status();
        expect(byCandidate(recent).length, `calls of the candidate, which is ${JSON.stringify(live)}`).toBeGreaterThan(5);
        expect(recent.length - byCandidate(recent).length).toBeGreaterThan(5);
      }, LIMIT);
    }

    function expectServedRightly(): void {
      expect(caller.calls.length).toBeGreaterThan(20);
      expect(failed(caller.calls)).toEqual([]);
      expect(wrong(caller.calls)).toEqual([]);
    }

    /** What a replica's adapter agent says of its base. */
    async function baseOf(replica: number): Promise<string> {
      const answer = await fetch(production.readinessUrls[replica] ?? "");
      return ((await answer.json()) as { base: string }).base;
    }

    test("one of two replicas is killed under load, comes back empty and is healed: no call fails, none is answered by another adapter", async () => {
      await bothArms();
      const [replica] = production.vllm;
      await replica?.kill();
      await bothArms();
      expect(await baseOf(0)).toBe("pending");
      await replica?.restart();
      const names = async (): Promise<string[]> => {
        const answer = (await (await fetch(`${replica?.url}/v1/models`)).json()) as { data: { id: string }[] };
        return answer.data.map(({ id }) => id);
      };
      await vi.waitFor(async () => expect(await names()).toContain(experiment.candidate.name), LIMIT);
      await vi.waitFor(async () => expect(await baseOf(0)).toBe("proven"), LIMIT);
      await bothArms();
      await caller.stop();
      expectServedRightly();
      progress.say(`replica killed and healed: ${caller.calls.length} calls, 0 failed`);
    }, 400_000);

    test("one of two replicas does not answer for a while: its calls go to the other one", async () => {
      await bothArms();
      const [, replica] = production.vllm;
      replica?.pause();
      await sleep(8_000);
      await bothArms();
      replica?.resume();
      await bothArms();
      await caller.stop();
      expectServedRightly();
      progress.say(
        `replica silent: ${caller.calls.length} calls, 0 failed, slowest ${Math.round(Math.max(...caller.calls.map((one) => one.endedMs - one.startedMs)))} ms`,
      );
    }, 300_000);

    test("the control service is dead while the candidate has one half: the lease ends the candidate, stable answers", async () => {
      await bothArms();
      await killNow(production.serving().child);
      const diedMs = performance.now();
      await vi.waitFor(() => {
        const recent = caller.calls.slice(-50);
        expect(recent.filter(({ startedMs }) => startedMs > diedMs)).toHaveLength(50);
        expect(byCandidate(recent)).toEqual([]);
      }, LIMIT);
      const last = byCandidate(caller.calls).at(-1);
      expect((last?.startedMs ?? 0) - diedMs).toBeLessThanOrEqual(LEASE_MS);
      await caller.stop();
      expectServedRightly();
      progress.say(
        `control service dead: the last call to the candidate began ${Math.round((last?.startedMs ?? 0) - diedMs)} ms after, lease ${LEASE_MS} ms`,
      );
      await production.serve(SMALL);
    }, 200_000);

    test("an operator rolls back: no new call on the candidate two seconds later", async () => {
      await bothArms();
      await production.act(experiment.id, "rollback");
      const decidedMs = performance.now();
      await vi.waitFor(async () => expect((await production.control.status()).experiment?.state).toBe("rolled_back"), LIMIT);
      await sleep(3 * DECISION_MS);
      await caller.stop();
      const late = byCandidate(caller.calls).filter(({ startedMs }) => startedMs > decidedMs + DECISION_MS);
      expect(late).toEqual([]);
      const last = byCandidate(caller.calls).at(-1);
      progress.say(
        `rollback: the last call to the candidate began ${Math.round((last?.startedMs ?? 0) - decidedMs)} ms after it was asked for`,
      );
      expectServedRightly();
    }, 200_000);
  });
}
