// Everything shown is somebody's data: text goes in as text nodes only.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children; strings become text nodes, null is left out. */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same in SVG. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) node.setAttribute(key, String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

/** A table with a caption for those who hear it; `rows` hold strings or nodes. Columns in `numeric` are right-aligned. */
export function table(caption, head, rows, numeric = []) {
  const cell = (tag, content, column) => el(tag, { class: numeric.includes(column) ? "number" : null }, content);
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el(
      "table",
      {},
      el("caption", { class: "unseen" }, caption),
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          head.map((text, column) => cell("th", text, column)),
        ),
      ),
      el(
        "tbody",
        {},
        rows.map((row) =>
          el(
            "tr",
            {},
            row.map((content, column) => cell("td", content, column)),
          ),
        ),
      ),
    ),
  );
}

/** A list of terms and what they are; entries without a value are left out. */
export function facts(entries) {
  const given = entries.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el(
    "dl",
    {},
    given.map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value))),
  );
}

export function badge(text, kind = "") {
  return el("span", { class: `badge ${kind}` }, text);
}

/** `reason 12` pills, most frequent first. */
export function pills(counts) {
  const sorted = Object.entries(counts)
    .filter(([, count]) => count > 0)
    .toSorted((a, b) => b[1] - a[1]);
  return el(
    "ul",
    { class: "pills" },
    sorted.map(([name, count]) => el("li", {}, words(name), " ", el("b", {}, String(count)))),
  );
}

/** `tool_result_missing` as a person writes it. */
export function words(name) {
  return String(name).replaceAll("_", " ");
}

export function percent(share) {
  return share === null || share === undefined ? "–" : `${(share * 100).toFixed(1)} %`;
}

export function duration(ms) {
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  return minutes < 120 ? `${minutes} min ${Math.floor((ms % 60_000) / 1000)} s` : `${(ms / 3_600_000).toFixed(1)} h`;
}

export function clock(ms) {
  return new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

/** Evidence is read on a log scale. JSON has no infinity: beyond the largest double it arrives as null. */
export function wealth(value) {
  if (value === null) return "> 1e308";
  return value >= 1000 || value < 0.01 ? value.toExponential(1) : value.toPrecision(3);
}
