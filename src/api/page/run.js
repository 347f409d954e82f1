import { rewardChart } from "./charts.js";
import { badge, clock, duration, el, facts, percent, pills, table, words } from "./dom.js";

const STATE = { running: "live", finished: "good", failed: "bad", cancelled: "bad" };

/** The newest run: what it is doing, and what each iteration came to. */
export function runView({ run }, nowMs) {
  if (run === null)
    return [
      el("p", {}, "No night has run yet."),
      el("p", { class: "quiet" }, "`nightshift run` starts one; `nightshift run --dry-run` says what it would do."),
    ];
  const lasted = duration((run.finishedAtMs ?? nowMs) - run.startedAtMs);
  return [
    el(
      "p",
      { class: "row" },
      badge(run.before > 0 ? "waiting" : run.state, STATE[run.state]),
      el("span", {}, phase(run)),
      el("span", { class: "quiet" }, lasted),
    ),
    outcome(run.outcome),
    alarms(run.replay.report),
    el(
      "div",
      { class: "split" },
      el("div", {}, iterations(run, nowMs)),
      el("figure", {}, el("figcaption", {}, "Mean reward of judged groups, by iteration"), rewardChart(run.iterations)),
    ),
    facts([
      ["started", clock(run.startedAtMs)],
      ["selection", took(run, "select", nowMs)],
      ["preparation", took(run, "prepare", nowMs)],
      ["replay", replayed(run.replay.report)],
      ["gate", run.gatePairs.begun === 0 ? null : `${run.gatePairs.finished} of ${run.gatePairs.begun} pairs played`],
      ["judge's deviation from itself", noise(run)],
      ...run.judgeSpending.map((spending) => [spending.role === "reward" ? "judge" : `${spending.role}'s judge`, spent(spending)]),
      ["trainer", run.trainer === null ? null : trainerText(run.trainer)],
      ["run", run.id],
    ]),
  ];
}

function noise(run) {
  const output = run.steps.find(({ step }) => step === "noise")?.output ?? null;
  if (output === null) return null;
  const how = { rejudged: `${output.groups} groups judged again`, calibration: "by its calibration", config: "as configured" };
  return `${output.deviation.toFixed(3)}, ${how[output.source]}`;
}

function spent({ inputTokens, outputTokens, reservedTokens, maxTokens, cost, reservedCost, maxCost, refused }) {
  const tokens = `${(inputTokens + outputTokens + reservedTokens).toLocaleString()} of ${maxTokens.toLocaleString()} tokens`;
  const money = maxCost === null ? "" : `, ${(cost + reservedCost).toFixed(2)} of ${maxCost} in money`;
  return `${tokens}${money}${refused === 0 ? "" : `; budget spent, ${refused} questions not asked`}`;
}

function phase(run) {
  if (run.state !== "running") return "";
  if (run.before > 0) return `for ${run.before === 1 ? "another run" : `${run.before} other runs`} to end`;
  const step = run.steps.findLast(({ finishedAtMs }) => finishedAtMs === null)?.step ?? "";
  const [name, iteration] = step.split("-");
  const doing = {
    select: "selecting scenarios",
    prepare: "preparing",
    fidelity: "measuring replay",
    scenarios: "choosing scenarios",
    groups: "rolling out and judging",
    cuts: "looking where replay had no answer",
    steps: "rolling out single steps",
    noise: "judging a few groups again",
    batch: "writing the batch",
    train: "training",
  }[name];
  return doing === undefined ? "between steps" : iteration === undefined ? doing : `${doing}, iteration ${iteration}`;
}

function outcome(result) {
  if (result === null) return null;
  if (result.kind === "candidate") return el("p", {}, "Candidate ", el("code", {}, result.adapterName));
  if (result.kind === "nothing_to_learn") return el("p", {}, "Nothing to learn: ", result.reason);
  if (result.kind === "no_capacity") return el("p", {}, "No capacity: ", result.reason, el("br"), `fix: ${result.fix}`);
  return el("p", { class: "problem" }, result.message, el("br"), el("span", {}, `fix: ${result.fix}`));
}

/** What was alarming about the replay of the rollouts. */
function alarms(report) {
  if (report === null || report.alarms.length === 0) return null;
  const told = report.alarms.flatMap(({ alarm, value, limit, where }) => [
    el("span", {}, `replay: ${words(alarm)} ${percent(value)} (limit ${percent(limit)}), ${where}`),
    el("br"),
  ]);
  return el("p", { class: "problem" }, ...told);
}

function trainerText({ phase, iteration, objective }) {
  return `${words(phase)}, iteration ${iteration}${objective == null || objective === "grpo" ? "" : ` (${objective})`}`;
}

function replayed(report) {
  const last = report?.iterations.at(-1);
  if (last === undefined) return null;
  const offTape = last.offTape === null ? "no tool calls" : `${percent(last.offTape)} of the calls off tape`;
  return `${percent(last.maskRate)} of the members masked, ${offTape}, iteration ${last.iteration}`;
}

function iterations(run, nowMs) {
  if (run.iterations.length === 0) return el("p", { class: "quiet" }, "No group is judged yet.");
  const rows = run.iterations.map(({ iteration, groups, kept, dropped, meanReward }) => [
    String(iteration),
    `${kept} of ${groups}`,
    Object.keys(dropped).length === 0 ? "none" : pills(dropped),
    meanReward === null ? "–" : meanReward.toFixed(3),
    took(run, `groups-${iteration}`, nowMs) ?? "",
    took(run, `train-${iteration}`, nowMs) ?? "",
  ]);
  return table("Iterations of the run", ["iteration", "kept", "dropped", "mean", "roll out, judge", "train"], rows, [3, 4, 5]);
}

function took(run, name, nowMs) {
  const step = run.steps.find((one) => one.step === name);
  if (step === undefined) return null;
  return step.finishedAtMs === null ? `${duration(nowMs - step.startedAtMs)} …` : duration(step.finishedAtMs - step.startedAtMs);
}
