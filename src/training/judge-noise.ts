import { hash } from "node:crypto";
import { distinctMembers } from "../reward/attempts-text.ts";
import { repeatDeviation, type Repeat } from "../reward/repeat-deviation.ts";
import { spreadFloor } from "../reward/signal.ts";
import { decodeGroup } from "../rollout/encode-group.ts";
import type { Database } from "../store/database.ts";
import { hasJudgeNoise } from "./group-summary.ts";
import { judgeWithPatience, loadGroups, type IterationDeps, type StoredGroup } from "./iteration.ts";
import type { NightDeps, NightOptions } from "./night-context.ts";

/** How far a run's judge is from itself, and how that is known. */
export interface JudgeNoise {
  deviation: number;
  /** `calibration`: of a calibration of this judge. `rejudged`: this run's own groups were judged again. `config`: `night.judgeDeviation`, which is also the least. */
  source: "calibration" | "rejudged" | "config";
  /** Groups that were judged again. */
  groups: number;
}

/**
 * The judge's repeat deviation, settled once a run: of its calibration, else measured on groups of the first iteration that are judged again, else as configured.
 * Durable step `noise`. What a killed run had asked is answered from the cache.
 */
export function judgeNoise(options: NightOptions, deps: NightDeps & Pick<IterationDeps, "sleep">, judged: Judged): Promise<JudgeNoise> {
  const { config, runId } = options;
  return deps.runs.step<JudgeNoise>(runId, "noise", async () => {
    const least = config.night.judgeDeviation;
    const measured = await measure(options, deps, judged);
    if (measured === null) return { deviation: least, source: "config", groups: 0 };
    return measured.deviation < least ? { ...measured, deviation: least, source: "config" } : measured;
  });
}

/** How a group of the run was judged: with which anchor. */
type Judged = Pick<IterationDeps, "recordedOf">;

async function measure(options: NightOptions, deps: NightDeps & Pick<IterationDeps, "sleep">, judged: Judged): Promise<JudgeNoise | null> {
  const calibrated = await deps.judgeDeviation();
  if (calibrated !== null) return { deviation: calibrated, source: "calibration", groups: 0 };
  const { config, runId } = options;
  const count = config.judge?.driver === "ruler" ? config.judge.rejudgeGroups : 0;
  const scored = (await loadGroups(deps.database, runId, 1)).filter(({ summary }) => summary.judge !== null);
  const place = ({ id }: StoredGroup): string => hash("sha256", `noise|${config.night.seed}|${id}`);
  const drawn = scored.toSorted((a, b) => (place(a) < place(b) ? -1 : 1)).slice(0, count);
  const repeats: Repeat[] = [];
  for (const group of drawn) {
    const repeat = await judgeAgain(group, options, deps, judged);
    if (repeat !== null) repeats.push(repeat);
  }
  const deviation = repeatDeviation(repeats);
  return deviation === null ? null : { deviation, source: "rejudged", groups: repeats.length };
}

/** Null where the group is gone, or has no second result: an outage, a spent budget. */
async function judgeAgain(
  stored: StoredGroup,
  options: NightOptions,
  deps: NightDeps & Pick<IterationDeps, "sleep">,
  judged: Judged,
): Promise<Repeat | null> {
  const { config, signal } = options;
  const body = await deps.artifacts.get(stored.bodyDigest, { signal });
  if (body === null) return null;
  const group = decodeGroup(body);
  const anchor = config.judge?.anchor === true ? (judged.recordedOf(group)?.attempt ?? null) : null;
  const result = await judgeWithPatience(group, { signal, anchor, repeat: 1 }, deps);
  if (result.status !== "scored") return null;
  // Identical members share a score: more of them are not more of a sample.
  const firsts = distinctMembers(group.members).map(([first]) => first ?? -1);
  const { judgeRewards } = stored.summary;
  return {
    first: firsts.map((index) => judgeRewards[index] ?? Number.NaN),
    second: firsts.map((index) => result.rewards[index] ?? Number.NaN),
  };
}

/**
 * Takes back what was kept before the judge's deviation was known and is within it. Only ever in that direction, because a group is first held to the least deviation
 * there can be; so a killed run that does it again changes nothing.
 */
export async function dropNoise(
  database: Database,
  { runId, iteration }: { runId: string; iteration: number },
  bounds: { minSpread: number; judgeDeviation: number },
): Promise<void> {
  for (const { id, summary } of await loadGroups(database, runId, iteration)) {
    const isOpen = summary.verdict === "kept" || summary.verdict === "simulator_correlated_reward";
    if (!isOpen || !hasJudgeNoise(summary) || (summary.deviation ?? 0) >= spreadFloor(bounds)) continue;
    await database.kysely
      .updateTable("groups")
      .set({ summary: JSON.stringify({ ...summary, verdict: "spread_below_noise" }) })
      .where("id", "=", id)
      .execute();
  }
}
