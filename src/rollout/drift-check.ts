import { profileOf } from "../trajectory/tool-profile.ts";
import { tapeIdOf } from "../trajectory/record-tape.ts";
import { emptyOverlay } from "./cascade/overlay.ts";
import type { LiveRead, LiveReads, LiveReadsConfig } from "./live-reads.ts";
import { driftOf, driftSample, isChanged, isReread, type Drifting, type Reread, type ToolDrift } from "./measure/drift.ts";
import type { Recordings } from "./recordings.ts";
import { startOfTrajectory } from "./start.ts";

export interface DriftOptions {
  /** Tools on the operator's list. */
  tools: LiveReadsConfig["tools"];
  maxWrongShare: number;
  /** Recordings of each tool that are asked for again at most. */
  perTool: number;
  seed: number;
  nowMs: number;
  signal: AbortSignal;
  /** Called after every answer. */
  progress: (done: number, total: number) => void;
}

/**
 * Asks for a sample of recorded answers again, live, and tells per tool how many differ now and what freshness that allows. Asks by the same live reads as rollouts
 * do, so nothing but listed tools whose configured class is read is ever called; the same call is asked once. Tools in the order of the list. Rejects only when `signal` aborts.
 */
export async function checkDrift(recordings: Recordings, liveReads: LiveReads, options: DriftOptions): Promise<ToolDrift[]> {
  const cascade = recordings.cascade("train");
  const { pool } = cascade;
  const starts = new Map(recordings.trajectories.map((one) => [tapeIdOf(one), startOfTrajectory(one)]));
  const samples = Object.keys(options.tools)
    .filter((tool) => isReread(tool, { pool, tools: options.tools }))
    .map((tool) => {
      const { nowMs, perTool: count, seed } = options;
      return { tool, sample: driftSample(tool, { tapes: recordings.selection.tapes, pool }, { nowMs, count, seed }) };
    });
  const total = samples.reduce((sum, { sample }) => sum + sample.length, 0);
  const asked = new Map<string, Promise<LiveRead>>();
  let done = 0;
  const reread = async ({ tape, entry, ageMs }: Drifting): Promise<Reread | "failed"> => {
    const start = starts.get(tape.id);
    if (start === undefined) throw new Error("a tape is of a trajectory");
    const call = cascade.prepare(start, entry.tool, entry.argumentsRaw);
    // The answers that a running night's siblings share are theirs: a check takes none of them, and pushes none out.
    const request = { situation: { pool, start, overlay: emptyOverlay() }, call, key: null };
    const asking = asked.get(call.callKey) ?? liveReads.read(request, { signal: options.signal });
    asked.set(call.callKey, asking);
    const live = await asking;
    options.progress((done += 1), total);
    if (live.status === "none") return "failed";
    // Of a tool that no recording shows to fail, an error says that nobody could look.
    if (live.isError && call.profile.errors === 0) return "failed";
    return { ageMs, isChanged: isChanged(entry, live, call.profile) };
  };
  return Promise.all(
    samples.map(async ({ tool, sample }) => {
      const answers = await Promise.all(sample.map(reread));
      const rereads = answers.filter((answer) => answer !== "failed");
      const { freshnessMs } = profileOf(pool.profiles, tool);
      const { maxWrongShare } = options;
      return driftOf(tool, { rereads, failed: answers.length - rereads.length }, { freshnessMs, maxWrongShare });
    }),
  );
}
