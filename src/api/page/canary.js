import { effectChart, evidenceChart } from "./charts.js";
import { badge, duration, el, facts, percent, table, wealth, words } from "./dom.js";

const STATE = {
  attesting: "live",
  shadow: "live",
  canary: "live",
  held: "warn",
  promoted: "good",
  rolled_back: "bad",
  refused: "bad",
  expired: "warn",
};
const ENDED = { promote: "Promoted", rollback: "Rolled back", expire: "Expired", supersede: "Superseded" };

/** The live experiment, or the newest one. */
export function canaryView({ experiment, gateEnabled }, nowMs) {
  if (experiment === null)
    return [el("p", {}, "No candidate yet."), el("p", { class: "quiet" }, "A night's adapter comes here after the offline gate.")];
  const { state, candidate, numbers, conclusion, parameters, startedAtMs, endedAtMs } = experiment;
  const lasted = startedAtMs === null ? null : duration((endedAtMs ?? nowMs) - startedAtMs);
  return [
    el(
      "p",
      { class: "row" },
      badge(words(state), STATE[state]),
      el("code", {}, candidate.name),
      el("span", { class: "quiet" }, lasted ?? ""),
    ),
    conclusion === null ? null : decision(conclusion),
    waiting(experiment),
    facts([["gate", gate(experiment.gate, gateEnabled)]]),
    startedAtMs === null ? null : ramp(experiment),
    numbers === null
      ? null
      : el(
          "div",
          { class: "split even" },
          el("div", {}, arms(numbers), effect(numbers, parameters), evidence(numbers)),
          guardrails(numbers),
        ),
    numbers === null ? null : limits(experiment),
  ];
}

function effect({ effect: interval }, parameters) {
  return el(
    "figure",
    {},
    el("figcaption", {}, "Effect on success, points (candidate − stable)"),
    effectChart(interval, marginOf(parameters)),
  );
}

function evidence(numbers) {
  const caption = `Evidence: K⁺ ${wealth(numbers.kPromote)} for promotion, K⁻ ${wealth(numbers.kHarm)} of harm`;
  return el("figure", {}, el("figcaption", {}, caption), evidenceChart(numbers));
}

function marginOf({ mode, delta }) {
  return mode === "improve" ? 0 : delta;
}

function decision({ action, reason, detail, by }) {
  const kind = action === "promote" ? "good" : action === "rollback" ? "bad" : "warn";
  return el(
    "p",
    { class: `decision ${kind}` },
    el("b", {}, ENDED[action] ?? action),
    `: ${words(reason)}${detail === "" ? "" : `, ${detail}`} (by ${by})`,
  );
}

function waiting({ state, waitsFor, conclusion, paused }) {
  if (conclusion !== null) return null;
  if (state === "attesting") return el("p", {}, "Waits until every replica has proved the adapter active.");
  if (state === "queued") return el("p", {}, "Waits until no other experiment of the agent is live.");
  if (waitsFor === null) return null;
  const what = {
    collecting: "more units: neither proven nor harmful so far",
    exposure_floor: `more units of the candidate (${waitsFor.detail})`,
    dwell: `the shortest dwell time (${waitsFor.detail})`,
    quality_proven: "the controller's next look",
    judge_uncalibrated: "an operator: the judge is not calibrated, so nothing is promoted on its own",
  }[waitsFor.reason];
  return el("p", {}, `Waits for ${what ?? `${words(waitsFor.reason)} ${waitsFor.detail}`}.${paused ? " Paused by an operator." : ""}`);
}

function gate(result, gateEnabled) {
  if (result === null) return gateEnabled ? "not asked" : "off";
  const { decision: told, reason, wins, losses, ties, kPromote, threshold, maskedShare, kl } = result;
  const moved = kl?.toStable == null ? "" : `; KL ${kl.toStable.toFixed(4)} to stable, ${kl.toBase.toFixed(4)} to base`;
  return `${told} (${words(reason)}): ${wins} wins, ${losses} losses, ${ties} ties; K⁺ ${wealth(kPromote)} of ${threshold.toFixed(0)}; masked ${percent(maskedShare)}${moved}`;
}

function ramp({ state, step, weight, parameters }) {
  const stages = parameters.ramp.map((stage, index) => {
    const isNow = index === step && state === "canary";
    const until = stage.untilUnits === undefined ? "to the end" : `to ${stage.untilUnits} units`;
    return el(
      "li",
      {
        class: index < step || (index === step && state === "promoted") ? "past" : isNow ? "now" : null,
        "aria-current": isNow ? "step" : null,
      },
      el("b", {}, percent(stage.weight)),
      ` ${until}`,
    );
  });
  const now =
    state === "canary" ? `The candidate gets ${percent(weight)} of new conversations.` : "The candidate gets no new conversations.";
  return el(
    "div",
    {},
    el("ol", { class: "ramp", "aria-label": "Stages of the ramp" }, stages),
    el("p", { class: "quiet" }, state === "promoted" ? "The candidate is stable now." : now),
  );
}

function arms({ units, candidateUnits, successStable, successCandidate, missingOutcomes }) {
  const row = (name, count, success) => {
    const fill = el("div", { class: `fill ${name}` });
    fill.style.width = `${(success ?? 0) * 100}%`;
    return [name, String(count), percent(success), el("div", { class: "track", "aria-hidden": "true" }, fill)];
  };
  return el(
    "div",
    {},
    table(
      "Arms of the canary",
      ["arm", "units", "success", ""],
      [row("stable", units - candidateUnits, successStable), row("candidate", candidateUnits, successCandidate)],
      [1, 2],
    ),
    missingOutcomes === 0 ? null : el("p", { class: "quiet" }, `${missingOutcomes} outcomes never came`),
  );
}

function guardrails({ guardrails: values, guardrailThreshold, mismatchAssigned }) {
  const row = (name, value, threshold) => {
    const alarms = value === null || value >= threshold;
    return [words(name), wealth(value), threshold.toFixed(0), badge(alarms ? "ALARM" : "quiet", alarms ? "bad" : "")];
  };
  const rows = Object.entries(values).map(([name, value]) => row(name, value, guardrailThreshold));
  return el(
    "details",
    { open: "" },
    el("summary", {}, "Guardrails"),
    table(
      "Guardrails with their evidence and where they alarm",
      ["guardrail", "evidence", "alarms at", ""],
      [...rows, row("sample ratio", mismatchAssigned, 1e4)],
      [1, 2],
    ),
  );
}

function limits({ numbers, excluded, parameters }) {
  const left = Object.entries(excluded).filter(([, count]) => count > 0);
  return facts([
    ["units", `${numbers.units} of at most ${parameters.maxUnits}`],
    ["left out by the time rule", left.map(([name, count]) => `${words(name)} ${count}`).join(", ")],
    ["mode", `${parameters.mode}, δ ${marginOf(parameters)}, α ${parameters.alpha}`],
    ["interval", "for the eye only; K⁺ and K⁻ decide"],
  ]);
}
