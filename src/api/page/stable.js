import { duration, el, facts, percent, table } from "./dom.js";

/** What serves now. */
export function stableView({ stable, model, routes, judge, judgeTrust }) {
  return [
    el("p", { class: "stable" }, el("code", {}, stable.name)),
    facts([
      ["what", stable.name === model ? "the base model; nothing was promoted yet" : "a promoted adapter"],
      ["digest", el("code", {}, stable.digest.replace(/^sha256:/, "").slice(0, 24))],
      ["judge", judge === null ? null : trust(judgeTrust)],
      ["routes", routes === null ? "not published yet" : `version ${routes.version}`],
    ]),
  ];
}

/** How far the judge of rewards can be trusted, and how old that is. */
function trust({ status, agreement, ageMs }) {
  if (status === "uncalibrated") return "not calibrated";
  return `agrees with people on ${percent(agreement)} of pairs; calibrated ${duration(ageMs)} ago`;
}

const SHOWN = 12;

/** From an answer to what taught it. */
export function lineageView({ answer, adapters, conversations }) {
  const head =
    answer === null
      ? null
      : facts([
          ["conversation", answer.conversationKey],
          ["trajectory", answer.trajectoryId],
          ["served by", answer.adapterDigest ?? "unknown"],
        ]);
  if (adapters.length === 0) return [head, el("p", {}, "No adapter had a part in it: the base model answered.")];
  return [
    head,
    el(
      "p",
      {},
      el("b", {}, String(conversations)),
      ` ${conversations === 1 ? "conversation" : "conversations"} taught ${adapters.length === 1 ? "this adapter" : `these ${adapters.length} adapters`}.`,
    ),
    adapters.map(({ name, iteration, learnedFrom }) =>
      el(
        "details",
        {},
        el("summary", {}, el("code", {}, name), ` iteration ${iteration}, ${learnedFrom.length} groups`),
        table(
          `Groups that ${name} learned from`,
          ["iteration", "conversation"],
          learnedFrom.slice(0, SHOWN).map((group) => [String(group.iteration), el("code", {}, group.conversation_id ?? "–")]),
          [0],
        ),
        learnedFrom.length > SHOWN ? el("p", { class: "quiet" }, `and ${learnedFrom.length - SHOWN} more`) : null,
      ),
    ),
  ];
}
