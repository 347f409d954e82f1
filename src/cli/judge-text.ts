import type { JudgeAnswer } from "../api/judge.ts";
import type { Calibration } from "../reward/calibration/calibration-store.ts";
import type { JudgeFigures, Share } from "../reward/calibration/measure.ts";
import type { Estimate } from "../reward/calibration/statistics.ts";
import type { AgentView } from "../api/views.ts";
import type { CliContext } from "./context.ts";
import { duration, fields, paint, percent, table, when } from "./print.ts";

/** A judge in a few words: for `status` and its like. */
export function judgeLine({ judge, judgeTrust }: Pick<AgentView, "judge" | "judgeTrust">): string | null {
  if (judge === null) return null;
  const { status, agreement, minAgreement, ageMs } = judgeTrust;
  const model = `${judgeTrust.identity?.model ?? judge}${judge === "scripted" ? " (scripted)" : ""}`;
  if (status === "uncalibrated") return `${model}, not calibrated`;
  const verdict = status === "below_agreement" ? `, BELOW ${percent(minAgreement)}` : "";
  return `${model}, agrees with people on ${percent(agreement)} of pairs${verdict}; calibrated ${duration(ageMs ?? 0)} ago`;
}

export function describeCalibration({ id, agent, identity, report, createdAtMs, actor }: Calibration, context: CliContext): string {
  const { labels, tokens, cost, repeats, seed } = report;
  const head = {
    ...{ calibration: id, agent },
    judge: `${identity.model} (${identity.driver === "scripted" ? "SCRIPTED" : identity.driver}), rubric ${identity.rubricVersion}, prompt ${identity.promptHash.slice(0, 12)}`,
    labels: `${labels.pairs} pairs, ${labels.scores} sets of scores, ${labels.unanswered} unanswered`,
    questions: `one as a night asks it and ${repeats} in other orders per label, seed ${seed}`,
    tokens: `${tokens.input} in, ${tokens.output} out`,
    cost: cost === null ? "no prices given" : cost.toFixed(4),
    by: `${actor}, ${when(createdAtMs)}`,
  };
  return [fields(head, context), "", table(["figure", "value", "95 % interval", "of"], figureRows(report), context)].join("\n");
}

function figureRows(report: JudgeFigures): string[][] {
  const { agreement, kendallTau, positionBias, agreementBySlot, selfAgreement, repeatDeviation } = report;
  return [
    shareRow("agreement with people", agreement),
    ["Kendall's tau-b", ...estimate(kendallTau), kendallTau === null ? "no sets of scores" : `${kendallTau.labels} sets, bootstrap`],
    ["last place against first", ...estimate(positionBias), "score, bootstrap"],
    shareRow("agreement, better one first", agreementBySlot.preferredFirst),
    shareRow("agreement, better one last", agreementBySlot.preferredLast),
    shareRow("agreement with itself", selfAgreement),
    ["repeat deviation", ...estimate(repeatDeviation), "score, bootstrap; a group's own must be 1.5 times it"],
  ];
}

function shareRow(name: string, share: Share | null): string[] {
  return [name, ...estimate(share), share === null ? "-" : `${share.pairs} pairs of ${share.labels} labels, Wilson over labels`];
}

function estimate(of: Estimate | null): [string, string] {
  return of === null ? ["-", "-"] : [of.value.toFixed(3), `${of.low.toFixed(3)} to ${of.high.toFixed(3)}`];
}

export function describeJudge(answer: JudgeAnswer, context: CliContext): string {
  const { agent, identity, status, minAgreement, requireCalibration, calibrations } = answer;
  const standing = {
    uncalibrated: "not calibrated: it trains, and nothing is promoted on its own",
    calibrated: "calibrated",
    below_agreement: paint("red", "agrees with people less than judge.minAgreement: runs are refused", context),
  }[status];
  const head = {
    agent,
    judge: identity === null ? "none is configured" : `${identity.model} (${identity.driver})`,
    standing: requireCalibration ? standing : `${standing} (requireCalibration is off: promotion does not ask)`,
    "minimal agreement": minAgreement,
  };
  const rows = calibrations.map(({ createdAtMs, identity: of, report, actor }) => [
    when(createdAtMs),
    `${of.model} ${of.rubricVersion}`,
    ...estimate(report.agreement),
    report.repeatDeviation?.value.toFixed(3) ?? "-",
    actor,
  ]);
  return [
    fields(head, context),
    "",
    table(["calibrated", "judge", "agreement", "95 % interval", "repeat deviation", "by"], rows, context),
  ].join("\n");
}
