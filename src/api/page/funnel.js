import { el, facts, percent, pills } from "./dom.js";

/** Captured → complete → trainable → selected by the night, with what was left behind at each step. */
export function funnelView({ funnel, run }) {
  const select = run?.steps.find(({ step }) => step === "select")?.output ?? null;
  const stages = [
    ["captured", funnel.captured, null],
    ["complete", funnel.complete, null],
    ["trainable", funnel.trainable, funnel.reasons],
    ["selected by the night", select === null ? null : select.trainScenarios + select.heldOutScenarios, select?.funnel?.leftOut ?? null],
  ];
  if (funnel.captured === 0) {
    return [
      el("p", {}, "Nothing was captured yet."),
      el(
        "p",
        { class: "quiet" },
        "Point your agent's OTEL_EXPORTER_OTLP_ENDPOINT at the collector, and its OPENAI_BASE_URL at the gateway.",
      ),
    ];
  }
  return [
    el(
      "ol",
      { class: "funnel" },
      stages.map(([name, count, reasons]) => stage(name, count, funnel.captured, reasons)),
    ),
    select === null
      ? null
      : facts([
          ["the night saw", `${select.funnel.captured} conversations`],
          ["and took", `${select.trainScenarios} to train on, ${select.heldOutScenarios} held out for the gate`],
        ]),
  ];
}

function stage(name, count, of, reasons) {
  const share = of === 0 || count === null ? 0 : Math.min(1, count / of);
  const fill = el("div", { class: "fill" });
  fill.style.width = `${share * 100}%`;
  const hasReasons = reasons !== null && Object.keys(reasons).length > 0;
  return el(
    "li",
    {},
    el(
      "div",
      { class: "row apart" },
      el("span", {}, name),
      el("b", {}, count === null ? "no run yet" : `${count}`, count === null ? null : el("span", { class: "quiet" }, ` ${percent(share)}`)),
    ),
    el("div", { class: "track", "aria-hidden": "true" }, fill),
    hasReasons ? el("div", { class: "why" }, el("span", { class: "quiet" }, "left behind"), pills(reasons)) : null,
  );
}
