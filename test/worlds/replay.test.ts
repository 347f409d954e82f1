import { beforeAll, describe, expect, it } from "vitest";
import { createRandom } from "../../deploy/quickstart/random.ts";
import type { Cascade } from "../../src/rollout/cascade/cascade.ts";
import { encodeGroup } from "../../src/rollout/encode-group.ts";
import type { Rung, TrajectoryGroup } from "../../src/rollout/group.ts";
import { createLimiter } from "../../src/limiter.ts";
import { rolloutGroup } from "../../src/rollout/loop.ts";
import { selfReplay } from "../../src/rollout/replay-check.ts";
import { selectScenarios } from "../../src/scenario/select.ts";
import type { Scenario } from "../../src/scenario/scenario.ts";
import type { ChatMessage } from "../../src/serving/policy-server.ts";
import { tapeIdOf } from "../../src/trajectory/record-tape.ts";
import { createScriptedPolicy, type Move } from "../rollout/scripted-policy.ts";
import { openScenarios } from "../scenario/settings.ts";
import { bookingsWorld } from "./bookings-world.ts";
import { cascadeOf, compare, coverageOf, libraryOf, narrowed, upperBound, type Library, type Tally } from "./compare.ts";
import { record, type Recorded } from "./record.ts";
import { shopWorld } from "./shop-world.ts";
import type { Task, WorldKind } from "./world.ts";

const CONVERSATIONS = 150;
const COMPARED = 60;

describe.each([[shopWorld], [bookingsWorld]])("replaying the $name", (kind) => {
  let recorded: readonly Recorded[];
  let library: Library;
  let all: Cascade;
  let wroteBefore: number;
  beforeAll(() => {
    recorded = record(kind, { seed: 1, conversations: CONVERSATIONS });
    library = libraryOf(kind, recorded);
    all = cascadeOf(library);
    wroteBefore = tripwire(recorded);
  });

  it("serves every recorded conversation back byte for byte, with no entry left over", () => {
    const checks = recorded.map(({ trajectory }) => selfReplay(trajectory, all));
    expect(checks.flatMap(({ mismatches }) => mismatches)).toEqual([]);
    expect(checks.reduce((sum, { unused }) => sum + unused, 0)).toBe(0);
    expect(checks.reduce((sum, { equal }) => sum + equal, 0)).toBeGreaterThan(400);
  });

  it("serves nothing wrong at R0–R2 to other attempts, and says how often R3 and above are", () => {
    const pooled = compare(kind, recorded.slice(-COMPARED), () => all, 2);
    report(`${kind.name}, all tapes`, pooled);
    expect(pooled.wrong.filter(({ rung }) => ["R0", "R1", "R2"].includes(rung))).toEqual([]);
    expect(pooled.byRung.R1?.served ?? 0).toBeGreaterThan(100);
    expect(wrongShare(pooled, "R3")).toBeLessThan(0.1);
    expect(wrongShare(pooled, "R4")).toBeLessThan(0.1);
  });

  it("covers more with three tapes than with one", () => {
    const some = recorded.slice(-COMPARED / 4);
    const one = compare(kind, some, (own) => cascadeOf(narrowed(library, new Set([tapeIdOf(own.trajectory)]))), 4);
    const three = compare(kind, some, (own) => cascadeOf(narrowed(library, nearest(recorded, own, 3))), 4);
    report(`${kind.name}, own tape`, one);
    report(`${kind.name}, three tapes`, three);
    expect(coverageOf(three)).toBeGreaterThan(coverageOf(one));
    expect([...one.wrong, ...three.wrong].filter(({ rung }) => ["R0", "R1", "R2"].includes(rung))).toEqual([]);
  });

  it("gives the same journals and bytes with one worker and with eight", async () => {
    const { train } = selectScenarios({
      trajectories: recorded.map(({ trajectory }) => trajectory),
      tapes: library.tapes,
      feedback: [],
      config: { ...openScenarios, heldOutShare: 0, maxPerCluster: 8 },
      seed: 1,
      nowMs: 2e12,
      count: 8,
      heldOutCount: 0,
    });
    expect(train.length).toBeGreaterThan(2);
    const [serial, parallel] = [await play(kind, recorded, all, train, 1), await play(kind, recorded, cascadeOf(library), train, 8)];
    expect(parallel.map(({ members }) => members.map(({ journal }) => journal))).toEqual(
      serial.map(({ members }) => members.map(({ journal }) => journal)),
    );
    expect(parallel.map(digestable)).toEqual(serial.map(digestable));
    const rungs = new Set(serial.flatMap(({ members }) => members.flatMap(({ journal }) => journal.map(({ rung }) => rung))));
    expect(rungs.size).toBeGreaterThan(2);
  });

  it("never executes anything", () => {
    expect(tripwire(recorded)).toBe(wroteBefore);
  });
});

/** Calls that ever reached the recorded worlds: replay may add none. (`compare` asks copies.) */
function tripwire(recorded: readonly Recorded[]): number {
  return recorded.reduce((sum, { before }) => sum + before.counters().calls, 0);
}

function digestable(group: TrajectoryGroup): string {
  return Buffer.from(encodeGroup(group)).toString("latin1");
}

/** The conversation's own tape and the `count - 1` that share most of its task, nearest in time. */
function nearest(recorded: readonly Recorded[], own: Recorded, count: number): ReadonlySet<string> {
  const shared = (one: Recorded): number =>
    Object.values(one.task.ids).filter((id) => Object.values(own.task.ids).includes(id)).length +
    (one.task.kind === own.task.kind ? 0.5 : 0);
  const distance = (one: Recorded): number => Math.abs(one.trajectory.startedAtMs - own.trajectory.startedAtMs);
  const others = recorded.filter((one) => one !== own).sort((a, b) => shared(b) - shared(a) || distance(a) - distance(b));
  return new Set([own, ...others.slice(0, count - 1)].map(({ trajectory }) => tapeIdOf(trajectory)));
}

/** The world's own policy behind a chat endpoint: it is run again from its seed up to where the conversation stands. */
function play(
  kind: WorldKind,
  recorded: readonly Recorded[],
  cascade: Cascade,
  scenarios: readonly Scenario[],
  workers: number,
): Promise<TrajectoryGroup[]> {
  const tasks = new Map(recorded.map(({ task }) => [task.message, task]));
  const policyServer = createScriptedPolicy(({ messages, sampling }): Move => {
    const task = tasks.get(messages.find(({ role }) => role === "user")?.content ?? "") as Task;
    // Every call has a seed of its own; the policy follows the member, whose first answer tells it apart.
    return continued(kind, task, messages, sampling.seed);
  });
  const limiter = createLimiter(workers);
  return Promise.all(
    scenarios.map((scenario) =>
      rolloutGroup({
        scenario,
        cascade,
        policyServer,
        model: "m",
        adapterDigest: "base",
        runId: "run",
        groupSize: 4,
        runSeed: 3,
        iteration: 1,
        sampling: { temperature: 1, topP: 1, maxTokens: 64 },
        limits: { maxCalls: 12, maxSimulatedShare: 0.4, maxAttempts: 1 },
        limiter,
      }),
    ),
  );
}

/** The next move of a policy that has seen these answers; each turn draws from the turn's own seed. */
function continued(kind: WorldKind, task: Task, messages: readonly ChatMessage[], seed: number): Move {
  const run = kind.policy(task, createRandom(kind.name, task.message, seed % 7));
  let next = run.next([]);
  for (let index = 0; index < messages.length && next.done !== true; index += 1) {
    if (messages[index]?.role !== "assistant") continue;
    const answers: string[] = [];
    while (messages[index + 1]?.role === "tool") answers.push(messages[(index += 1)]?.content ?? "");
    next = run.next(answers);
  }
  return next.done === true ? { reply: next.value } : { calls: next.value };
}

function wrongShare(tally: Tally, rung: Rung): number {
  const counts = tally.byRung[rung];
  return counts === undefined ? 0 : counts.wrong / counts.served;
}

/** Printed with every run: the figures that no bar can promise for somebody else's tools. */
function report(name: string, tally: Tally): void {
  const rungs = Object.entries(tally.byRung).sort(([a], [b]) => (a < b ? -1 : 1));
  const shown = rungs.map(([rung, { served, wrong }]) =>
    rung === "R7" ? `R7 ${served}` : `${rung} ${served} (wrong ${wrong}, ≤ ${(100 * upperBound(wrong, served)).toFixed(1)} %)`,
  );
  process.stdout.write(`${name}: ${tally.calls} calls, coverage ${(100 * coverageOf(tally)).toFixed(1)} %; ${shown.join(", ")}\n`);
}
