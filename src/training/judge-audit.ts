import { hash } from "node:crypto";
import { distinctMembers } from "../reward/attempts-text.ts";
import type { Check } from "../reward/hacking/examine.ts";
import { checkSecondJudge, secondOpinion, type SecondOpinion, type TwoOpinions } from "../reward/hacking/second-judge.ts";
import type { Judge } from "../reward/judge.ts";
import { decodeGroup } from "../rollout/encode-group.ts";
import { judgeWithPatience, loadGroups, type IterationDeps, type StoredGroup } from "./iteration.ts";
import type { NightDeps, NightOptions } from "./night-context.ts";
import type { RunStore } from "./run-store.ts";

/** What a second judge, or the same under another rubric, made of a sample of a run's groups. */
export interface JudgeAudit extends SecondOpinion {
  model: string;
  rubricVersion: string;
  /** Groups that were drawn, and how many of them it did not answer: an outage, a spent budget. In no share. */
  drawn: number;
  unanswered: number;
  check: Check;
}

/**
 * Has a second judge score some of the groups that trained, drawn by seed over all iterations, and keeps how far it puts attempts in the same order. Durable step `audit`;
 * none where no second judge is configured. What a killed run had asked is answered from the cache.
 */
export async function auditJudge(options: NightOptions, deps: NightDeps & Pick<IterationDeps, "sleep">): Promise<void> {
  const { config, runId } = options;
  const { auditJudge: judge } = deps;
  const audit = config.judge?.audit;
  if (judge == null || audit === undefined || audit.groups === 0) return;
  await deps.runs.step<JudgeAudit>(runId, "audit", async () => {
    // Single steps end before anything is done: a rubric that asks how far it was done ties them all.
    const isWhole = ({ summary }: StoredGroup): boolean => summary.played?.mode !== "step";
    const trained = (await loadGroups(deps.database, runId)).filter(
      ({ summary, iteration }) => summary.verdict === "kept" && iteration > 0,
    );
    const kept = trained.filter(isWhole);
    const place = ({ id }: StoredGroup): string => hash("sha256", `audit|${config.night.seed}|${id}`);
    const drawn = kept.toSorted((a, b) => (place(a) < place(b) ? -1 : 1)).slice(0, audit.groups);
    const opinions: TwoOpinions[] = [];
    let asked: Pick<JudgeAudit, "model" | "rubricVersion"> = { model: "", rubricVersion: "" };
    for (const group of drawn) {
      const answer = await judgeOver(group, judge, options, deps);
      // Whoever waits as long again for every group holds a candidate back for hours.
      if (answer === "away") break;
      if (answer === null) continue;
      opinions.push(answer.opinions);
      asked = answer.asked;
    }
    const opinion = secondOpinion(opinions, config.night.minSpread);
    const check = checkSecondJudge(opinion, audit.minAgreement);
    deps.log.info({ groups: opinions.length, agreement: opinion.agreement?.value ?? null, model: asked.model }, "judge audited");
    return { ...opinion, ...asked, drawn: drawn.length, unanswered: drawn.length - opinions.length, check };
  });
}

/** What a run's `audit` step found; null without one. */
export async function auditOfRun(runs: RunStore, runId: string): Promise<JudgeAudit | null> {
  const step = (await runs.steps(runId)).find(({ step: name, finishedAtMs }) => name === "audit" && finishedAtMs !== null);
  return (step?.output ?? null) as JudgeAudit | null;
}

/** Null where the group is gone with somebody in it, or has no second result; `away` where the judge did not answer, however long it was waited for. */
async function judgeOver(
  stored: StoredGroup,
  judge: Judge,
  { signal }: NightOptions,
  deps: NightDeps & Pick<IterationDeps, "sleep">,
): Promise<{ opinions: TwoOpinions; asked: Pick<JudgeAudit, "model" | "rubricVersion"> } | "away" | null> {
  const body = await deps.artifacts.get(stored.bodyDigest, { signal });
  if (body === null) return null;
  const group = decodeGroup(body);
  const result = await judgeWithPatience(group, { signal }, { ...deps, judge });
  if (result.status === "retryable") return "away";
  if (result.status !== "scored") return null;
  const firsts = distinctMembers(group.members).map(([first]) => first ?? -1);
  const { judgeRewards } = stored.summary;
  const isScored = (index: number): boolean => judgeRewards[index] != null && result.rewards[index] != null;
  const compared = firsts.filter(isScored);
  const { model, rubricVersion } = result.provenance;
  return {
    opinions: { rewarded: compared.map((index) => judgeRewards[index] ?? 0), second: compared.map((index) => result.rewards[index] ?? 0) },
    asked: { model, rubricVersion },
  };
}
