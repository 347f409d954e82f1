import { writeFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";
import { createRandom } from "../../../deploy/quickstart/random.ts";
import { createCascade, type Cascade } from "../../../src/rollout/cascade/cascade.ts";
import { emptyOverlay } from "../../../src/rollout/cascade/overlay.ts";
import { createTapePool } from "../../../src/rollout/cascade/tape-pool.ts";
import type { Rung } from "../../../src/rollout/group.ts";
import { measureFidelity } from "../../../src/rollout/measure/measure.ts";
import { startOfTrajectory } from "../../../src/rollout/start.ts";
import { tapeIdOf, turnHashOf } from "../../../src/trajectory/record-tape.ts";
import { bookingsWorld } from "../../worlds/bookings-world.ts";
import { libraryOf } from "../../worlds/compare.ts";
import type { Recorded } from "../../worlds/conversation.ts";
import { record } from "../../worlds/record.ts";
import { shopWorld } from "../../worlds/shop-world.ts";
import type { WorldCall, WorldKind } from "../../worlds/world.ts";
import { watchMachine } from "../machine.ts";
import { quantiles, type Quantiles } from "../quantiles.ts";
import { crowdWorld } from "./crowd-world.ts";

/**
 * What one answer of the cascade costs with a large pool, and what making and measuring the pool costs: other attempts at recorded tasks of the test worlds, whose
 * few customers crowd the tapes on the same calls and entities. Prints a table and, as the last line, its JSON; `--keep` writes it to the kept results.
 * `npm run bench -- cascade [entries] [calls] [--keep]`
 */
const BAR_MS = 1;
const WARM_UP = 500;
const numbers = process.argv.slice(2).filter((arg) => !arg.startsWith("--"));
const [entries = 10_000, calls = 20_000] = numbers.map(Number);

/** Milliseconds of a call when it was made, and of the fastest of three times: the cascade is pure, and what other processes took is in the first alone. */
interface Time {
  first: number;
  fastest: number;
}
type Times = Map<Rung, Time[]>;

/** As many conversations as hold so many calls. */
function recordEntries(kind: WorldKind): readonly Recorded[] {
  const some = record(kind, { seed: 1, conversations: 200 });
  const perConversation = libraryOf(kind, some).tapes.reduce((sum, tape) => sum + tape.entries.length, 0) / some.length;
  return record(kind, { seed: 1, conversations: Math.ceil((entries / perConversation) * 1.05) });
}

function timed<T>(work: () => T): { value: T; ms: number } {
  const startMs = performance.now();
  const value = work();
  return { value, ms: performance.now() - startMs };
}

/** Times of every answer, by rung: the call in canonical form, the answer, and the state after it. */
function attempts(recorded: readonly Recorded[], kind: WorldKind, cascade: Cascade, wanted: number): Times {
  const times: Times = new Map();
  let left = wanted;
  for (let attempt = 0; left > 0; attempt += 1) {
    for (const one of recorded) {
      if (left > 0) left -= attemptOnce(one, kind, cascade, attempt, times);
    }
  }
  return times;
}

function attemptOnce(one: Recorded, kind: WorldKind, cascade: Cascade, attempt: number, times: Times): number {
  const start = startOfTrajectory(one.trajectory);
  const run = kind.policy(one.task, createRandom("bench", one.trajectory.id, attempt));
  let overlay = emptyOverlay();
  let made = 0;
  const answerOne = ({ tool, args }: WorldCall): string => {
    const before = overlay;
    const once = () =>
      timed(() => {
        const call = cascade.prepare(start, tool, args);
        const options = { seed: [1, attempt], turn: turnHashOf([call.callKey]) };
        const answer = cascade.answer({ pool: cascade.pool, start, overlay: before }, call, options);
        return { answer, after: cascade.advance(before, call, answer) };
      });
    const {
      ms: first,
      value: { answer, after },
    } = once();
    overlay = after;
    times.set(answer.rung, times.get(answer.rung) ?? []);
    times.get(answer.rung)?.push({ first, fastest: Math.min(first, once().ms, once().ms) });
    made += 1;
    // Where replay would end, the policy goes on with an answer that tells it nothing.
    return answer.result ?? "{}";
  };
  for (let next = run.next([]); next.done !== true;) next = run.next(next.value.map(answerOne));
  return made;
}

function summary(times: readonly Time[]): Record<keyof Time, Quantiles> {
  return { first: quantiles(times.map(({ first }) => first)), fastest: quantiles(times.map(({ fastest }) => fastest)) };
}

function measureWorld(kind: WorldKind) {
  const recorded = recordEntries(kind);
  const trajectories = recorded.map(({ trajectory }) => trajectory);
  const library = timed(() => libraryOf(kind, recorded));
  const { profiles, tapes } = library.value;
  const pool = timed(() => createTapePool(tapes, { profiles, split: "train" }));
  const cascade = timed(() => createCascade(pool.value, trajectories.map(tapeIdOf)));
  attempts(recorded.slice(0, 50), kind, cascade.value, WARM_UP);
  const watch = watchMachine();
  const times = attempts(recorded, kind, cascade.value, calls);
  const machineDuring = watch();
  const measured = timed(() =>
    measureFidelity({ trajectories, pool: pool.value }, { seed: 1, maxTapes: 200, maxWrongShare: 0.2, maxMisjudgedShare: 0.5 }),
  );
  const asked = measured.value.reduce((sum, tool) => sum + tool.calls, 0);
  return {
    world: kind.name,
    conversations: recorded.length,
    entries: tapes.reduce((sum, tape) => sum + tape.entries.length, 0),
    ms: {
      all: summary([...times.values()].flat()),
      byRung: Object.fromEntries([...times].toSorted(([one], [other]) => (one < other ? -1 : 1)).map(([rung, ms]) => [rung, summary(ms)])),
    },
    onceMs: { tapes: library.ms, pool: pool.ms, cascade: cascade.ms, fidelity: measured.ms },
    fidelity: { tapes: 200, calls: asked, msPerCall: measured.ms / asked, tools: measured.value },
    foreign: machineDuring,
  };
}

const results = [shopWorld, bookingsWorld, crowdWorld].map(measureWorld);
const column = (value: number): string => value.toFixed(3).padStart(9);
process.stdout.write(`${"ms per call".padEnd(24)}    calls      p50      p99 fastest: p50  p99      max\n`);
for (const { world, entries: held, ms, onceMs, fidelity } of results) {
  for (const [rung, row] of [["all", ms.all] as const, ...Object.entries(ms.byRung)]) {
    const name = `${world}, ${rung}`.padEnd(24);
    const cells = [row.first.p50, row.first.p99, row.fastest.p50, row.fastest.p99, row.fastest.max].map(column).join("");
    process.stdout.write(`${name}${String(row.first.samples).padStart(9)}${cells}\n`);
  }
  const once = Object.entries(onceMs).map(([what, ms]) => `${what} ${(ms / 1000).toFixed(2)} s`);
  process.stdout.write(`${world}, ${held} entries, once: ${once.join(", ")} (${fidelity.calls} calls)\n`);
}
const machine = {
  cpu: cpus()[0]?.model ?? "unknown",
  cores: cpus().length,
  memoryGb: Math.round(totalmem() / 2 ** 30),
  node: process.version,
};
const passed = results.every(({ ms }) => ms.all.fastest.p99 < BAR_MS);
const figures = { bench: "cascade", machine, entries, calls, bar: `p99 of the fastest of three < ${BAR_MS} ms`, passed, results };
if (process.argv.includes("--keep")) {
  writeFileSync(join(import.meta.dirname, "..", "results", "cascade.json"), `${JSON.stringify(figures, null, 2)}\n`);
}
process.stdout.write(`${JSON.stringify(figures)}\n`);
