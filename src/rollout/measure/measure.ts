import { hash } from "node:crypto";
import { clusterItems } from "../../scenario/cluster.ts";
import { textOf } from "../../trace/message.ts";
import { withoutPaths } from "../../trajectory/canonical-arguments.ts";
import { parseResult, tapeIdOf, toolsetHashOf, turnsOf } from "../../trajectory/record-tape.ts";
import { mayWrite } from "../../trajectory/tool-profile.ts";
import type { Trajectory } from "../../trajectory/trajectory.ts";
import { createCascade, type Answer, type Cascade } from "../cascade/cascade.ts";
import { emptyOverlay } from "../cascade/overlay.ts";
import type { PreparedCall } from "../cascade/prepare.ts";
import type { PooledEntry, TapePool } from "../cascade/tape-pool.ts";
import { MIN_MEASURED, type RungRecord } from "../cascade/trust.ts";
import type { Rung } from "../group.ts";
import { startOfTrajectory } from "../start.ts";
import { lowerBound, upperBound } from "./binomial.ts";
import { departing, withoutTapes } from "./left-out.ts";

/** How one tool's recorded calls were answered without their own tape. */
export interface ToolFidelity {
  tool: string;
  /** Recorded calls that were asked again; `missed` of them had no honest answer. */
  calls: number;
  missed: number;
  rungs: MeasuredRung[];
  /** Recorded errors of a write that R4 or R5 answered, and how many of them with a success. */
  falseSuccess: { errors: number; asSuccess: number; upperBound: number };
}

export interface MeasuredRung extends RungRecord {
  /** Wrong answers that were a success for an error, or the other way round. */
  misjudged: number;
  /** One-sided 95 % Clopper–Pearson bounds on the share of wrong answers. */
  upperBound: number;
  lowerBound: number;
}

export interface MeasureOptions {
  /** Which tapes are drawn. */
  seed: number;
  /** Tapes that are left out and asked about at most. */
  maxTapes: number;
  /** A tool whose R3 or R4 may be wrong more often than this is no longer answered from there; a write, whose outcome may be. */
  maxWrongShare: number;
  /** A write whose outcome at R5 surely is wrong more often than this is no longer answered at all. */
  maxMisjudgedShare: number;
}

/** Tapes are left out in at most so many portions: write models are learned anew for each. */
const MAX_FOLDS = 10;
const REFUSABLE: readonly Rung[] = ["R3", "R4"];

/**
 * Leave-one-trace-out: plays recorded conversations of tasks that several tapes hold through the cascade, each without its own tape, and compares every
 * answer with the recorded one, volatile paths left out. Each call is asked as if the rollout left its recording there: the tape so far says what was
 * seen, what it says later is unknown, and the state follows the recording. So R1 and R2 never answer. Up to ten tapes are each left out alone; of more, a tenth
 * at a time, dealt so that tapes of one task are left out apart. That a key exists is known even where only the tape left out shows it. An answer that
 * somebody's unrecorded write made untrue counts as wrong. Pure; tools in the order of their names.
 */
export function measureFidelity(
  { trajectories, pool }: { trajectories: readonly Trajectory[]; pool: TapePool },
  options: MeasureOptions,
): ToolFidelity[] {
  const recorded = trajectories.filter((trajectory) => pool.ofTape(tapeIdOf(trajectory)).length > 0);
  const sample = sampleOf(recorded, options);
  const folds = Array.from({ length: Math.min(MAX_FOLDS, sample.length) }, (_, fold) =>
    sample.filter((_trajectory, place) => place % Math.min(MAX_FOLDS, sample.length) === fold),
  );
  const tallies = new Map<string, Tally>();
  for (const fold of folds) {
    const left = new Set(fold.map(tapeIdOf));
    const rest = recorded.map(tapeIdOf).filter((id) => !left.has(id));
    const cascade = createCascade(withoutTapes(pool, left), rest);
    for (const trajectory of fold) askAgain(trajectory, cascade, pool, options.seed, tallies);
  }
  return [...tallies].toSorted(([one], [other]) => (one < other ? -1 : 1)).map(([tool, tally]) => reported(tool, tally, options));
}

/** The same-task cluster of every conversation, by its trajectory's id. */
export function clustersOf(trajectories: readonly Trajectory[]): ReadonlyMap<string, string> {
  return clusterItems(
    trajectories.map(({ id, messages, tools }) => {
      const asked = messages.find((message) => message.role === "user" && textOf(message) !== "");
      return { id, text: asked === undefined ? "" : textOf(asked), toolsetHash: toolsetHashOf(tools) };
    }),
  );
}

interface Tally {
  calls: number;
  missed: number;
  isWrite: boolean;
  rungs: Map<Rung, { served: number; wrong: number; misjudged: number }>;
  errors: number;
  asSuccess: number;
}

/** Tapes of tasks that have several, drawn by seed; those of one task next to each other, so that dealing them out parts them. */
function sampleOf(recorded: readonly Trajectory[], { seed, maxTapes }: MeasureOptions): readonly Trajectory[] {
  const clusters = clustersOf(recorded);
  const sizes = Map.groupBy(clusters.values(), (cluster) => cluster);
  const place = ({ id }: Trajectory): string => hash("sha256", `fidelity|${seed}|${id}`);
  const clusterOf = ({ id }: Trajectory): string => clusters.get(id) ?? "";
  return recorded
    .filter((one) => (sizes.get(clusterOf(one))?.length ?? 0) > 1)
    .map((trajectory) => ({ trajectory, place: place(trajectory) }))
    .toSorted((one, other) => (one.place < other.place ? -1 : 1))
    .slice(0, maxTapes)
    .toSorted((one, other) => (clusterOf(one.trajectory) < clusterOf(other.trajectory) ? -1 : 1))
    .map(({ trajectory }) => trajectory);
}

function askAgain(trajectory: Trajectory, cascade: Cascade, whole: TapePool, seed: number, tallies: Map<string, Tally>): void {
  const start = startOfTrajectory(trajectory);
  const entries = new Map(whole.ofTape(start.tapeId).map((seen) => [`${seen.entry.turn}|${seen.entry.parallelIndex}`, seen]));
  let overlay = emptyOverlay();
  for (const { index: turn, calls } of turnsOf(trajectory.messages)) {
    for (const [index, { part, result }] of calls.entries()) {
      const seen = entries.get(`${turn}|${index}`);
      const call = cascade.prepare(start, part.name, part.arguments);
      if (seen === undefined || result === null) {
        // Whether it was done, nobody knows: nor the state that all else was answered in.
        if (mayWrite(call.profile)) return;
        continue;
      }
      if (seen.entry.raced === null && !seen.entry.damaged) {
        const situation = departing({ pool: cascade.pool, start, overlay }, seen, whole);
        count(tallies, call, cascade.answer(situation, call, { seed: [seed, 0], turn: "" }), seen);
      }
      overlay = cascade.advance(overlay, call, { result, isError: seen.entry.isError, epochs: seen.epochs });
    }
  }
}

function count(tallies: Map<string, Tally>, call: PreparedCall, answer: Answer, { entry }: PooledEntry): void {
  const isWrite = mayWrite(call.profile);
  const tally = tallies.get(call.tool) ?? { calls: 0, missed: 0, isWrite, rungs: new Map(), errors: 0, asSuccess: 0 };
  tallies.set(call.tool, tally);
  tally.calls += 1;
  if (answer.result === null) {
    tally.missed += 1;
    return;
  }
  const rung = tally.rungs.get(answer.rung) ?? { served: 0, wrong: 0, misjudged: 0 };
  tally.rungs.set(answer.rung, rung);
  rung.served += 1;
  rung.wrong += isRight(call, answer.rung, call.names.toTape(answer.result), entry) ? 0 : 1;
  rung.misjudged += answer.isError === entry.isError ? 0 : 1;
  const isMadeWrite = isWrite && (answer.rung === "R4" || answer.rung === "R5");
  if (!isMadeWrite || !entry.isError) return;
  tally.errors += 1;
  tally.asSuccess += answer.isError ? 0 : 1;
}

/** The words of a mistake's answer may be generic; that it failed must be true. */
function isRight(call: PreparedCall, rung: Rung, served: string, entry: PooledEntry["entry"]): boolean {
  if (rung === "agent_error") return entry.isError;
  const told = (text: string): string => JSON.stringify(withoutPaths(parseResult(text), call.profile.volatileResultPaths));
  return served === entry.result || told(served) === told(entry.result);
}

function reported(tool: string, tally: Tally, limits: Pick<MeasureOptions, "maxWrongShare" | "maxMisjudgedShare">): ToolFidelity {
  const rungs = [...tally.rungs]
    .toSorted(([one], [other]) => (one < other ? -1 : 1))
    .map(([rung, counted]) => {
      const { served, wrong } = counted;
      const bounds = { upperBound: upperBound(wrong, served), lowerBound: lowerBound(wrong, served) };
      return { rung, ...counted, ...bounds, refused: isRefused(rung, counted, tally.isWrite, limits) };
    });
  const { calls, missed, errors, asSuccess } = tally;
  return { tool, calls, missed, rungs, falseSuccess: { errors, asSuccess, upperBound: upperBound(asSuccess, errors) } };
}

function isRefused(
  rung: Rung,
  { served, wrong, misjudged }: { served: number; wrong: number; misjudged: number },
  isWrite: boolean,
  { maxWrongShare, maxMisjudgedShare }: Pick<MeasureOptions, "maxWrongShare" | "maxMisjudgedShare">,
): boolean {
  // Below R5 there is nothing: only what is surely worse than the limit is given up.
  if (rung === "R5") return lowerBound(misjudged, served) > maxMisjudgedShare;
  if (!REFUSABLE.includes(rung)) return false;
  // A write without R4 falls to R5, which renders the same body: only the outcome is decided otherwise there.
  const telling = isWrite ? misjudged : wrong;
  // Of few answers the upper bound says little: then the wrong ones must speak for themselves.
  return (served < MIN_MEASURED ? lowerBound(telling, served) : upperBound(telling, served)) > maxWrongShare;
}
