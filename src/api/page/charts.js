import { svg } from "./dom.js";

/** Mean reward by iteration, 0 to 1. */
export function rewardChart(iterations) {
  const points = iterations.filter(({ meanReward }) => meanReward !== null);
  const [width, height, left, right, top, bottom] = [360, 150, 34, 12, 12, 24];
  const last = Math.max(2, ...iterations.map(({ iteration }) => iteration));
  const x = (iteration) => left + ((iteration - 1) / (last - 1)) * (width - left - right);
  const y = (reward) => top + (1 - Math.min(1, Math.max(0, reward))) * (height - top - bottom);
  const text = points.map(({ iteration, meanReward }) => `${iteration}: ${meanReward.toFixed(3)}`).join(", ");
  return svg(
    "svg",
    {
      viewBox: `0 0 ${width} ${height}`,
      class: "chart reward",
      role: "img",
      "aria-label": `Mean reward by iteration: ${text || "none yet"}`,
    },
    [0, 0.5, 1].map((tick) => [
      svg("line", { class: "grid", x1: left, x2: width - right, y1: y(tick), y2: y(tick) }),
      svg("text", { class: "tick", x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, tick.toFixed(1)),
    ]),
    iterations.map(({ iteration }) =>
      svg("text", { class: "tick", x: x(iteration), y: height - 6, "text-anchor": "middle" }, String(iteration)),
    ),
    svg("polyline", { class: "line", points: points.map((point) => `${x(point.iteration)},${y(point.meanReward)}`).join(" ") }),
    points.map(({ iteration, meanReward }) =>
      svg(
        "circle",
        { class: "dot", cx: x(iteration), cy: y(meanReward), r: 3.5 },
        svg("title", {}, `iteration ${iteration}: ${meanReward.toFixed(3)}`),
      ),
    ),
  );
}

/** The effect (candidate − stable) with its interval, beside 0 and the margin −δ. */
export function effectChart(effect, delta) {
  const [width, height, pad, middle] = [360, 88, 16, 38];
  const reach = Math.min(1, Math.max(0.2, delta * 2, ...(effect === null ? [] : [Math.abs(effect.low), Math.abs(effect.high)])) * 1.1);
  const x = (value) => pad + ((Math.min(reach, Math.max(-reach, value)) + reach) / (2 * reach)) * (width - 2 * pad);
  const points = (value) => `${value > 0 ? "+" : value < 0 ? "−" : ""}${Math.abs(value * 100).toFixed(0)}`;
  // 0 is named above and −δ below: the two may lie side by side.
  const mark = (value, name, className, y) => [
    svg("line", { class: className, x1: x(value), x2: x(value), y1: 14, y2: 62 }),
    svg("text", { class: "tick", x: x(value), y, "text-anchor": "middle" }, name),
  ];
  const told = effect === null ? "no units yet" : `${points(effect.mean)} points, from ${points(effect.low)} to ${points(effect.high)}`;
  return svg(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, class: "chart effect", role: "img", "aria-label": `Effect of the candidate: ${told}` },
    svg("line", { class: "grid", x1: pad, x2: width - pad, y1: middle, y2: middle }),
    [-reach, reach].map((end) => svg("text", { class: "tick", x: x(end), y: 78, "text-anchor": end < 0 ? "start" : "end" }, points(end))),
    mark(0, "0", "zero", 10),
    delta > 0 ? mark(-delta, `−δ ${points(-delta)}`, "margin", 78) : [],
    effect === null
      ? []
      : [
          svg("line", { class: "interval", x1: x(effect.low), x2: x(effect.high), y1: middle, y2: middle }),
          [effect.low, effect.high].map((end) =>
            svg("line", { class: "interval", x1: x(end), x2: x(end), y1: middle - 7, y2: middle + 7 }),
          ),
          svg("circle", { class: "dot", cx: x(effect.mean), cy: middle, r: 5 }),
        ],
  );
}

/** K⁺ and K⁻ against the threshold that either must reach, on a log scale. */
export function evidenceChart({ kPromote, kHarm, threshold }) {
  const [width, height, left, right] = [360, 100, 34, 14];
  const exponent = (value) => (value === null ? Infinity : Math.log10(value));
  const low = -2;
  const high = Math.max(Math.ceil(exponent(threshold)) + 1, Math.min(8, Math.ceil(Math.max(exponent(kPromote), exponent(kHarm)))));
  const x = (value) => left + ((Math.min(high, Math.max(low, exponent(value))) - low) / (high - low)) * (width - left - right);
  const bar = (name, value, y, className) => [
    svg("text", { class: "label", x: left - 8, y: y + 13, "text-anchor": "end" }, name),
    svg("rect", { class: "track", x: left, y, width: width - left - right, height: 18, rx: 4 }),
    svg("rect", { class: className, x: left, y, width: Math.max(2, x(value) - left), height: 18, rx: 4 }),
  ];
  const ticks = Array.from({ length: high - low + 1 }, (_, index) => low + index).filter((power) => high - low <= 6 || power % 2 === 0);
  return svg(
    "svg",
    {
      viewBox: `0 0 ${width} ${height}`,
      class: "chart evidence",
      role: "img",
      "aria-label": `Evidence on a log scale: for promotion ${kPromote ?? "beyond all numbers"}, of harm ${kHarm ?? "beyond all numbers"}; either decides at ${threshold}`,
    },
    bar("K⁺", kPromote, 14, "promote"),
    bar("K⁻", kHarm, 42, "harm"),
    svg("line", { class: "threshold", x1: x(threshold), x2: x(threshold), y1: 8, y2: 66 }),
    ticks.map((power) =>
      svg(
        "text",
        { class: "tick", x: x(10 ** power), y: 82, "text-anchor": "middle" },
        power === 0 ? "1" : power === 1 ? "10" : `1e${power}`,
      ),
    ),
    svg("text", { class: "tick strong", x: x(threshold), y: 97, "text-anchor": "middle" }, `decides at ${threshold.toFixed(0)}`),
  );
}
