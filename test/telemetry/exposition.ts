/** One sample of Prometheus' text format, its labels unescaped. */
export interface Sample {
  name: string;
  labels: Readonly<Record<string, string>>;
  value: number;
}

/** What stands under one `# TYPE`. */
export interface Family {
  name: string;
  type: string;
  help: string;
  samples: Sample[];
}

const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/y;
const SUFFIXES = ["_bucket", "_sum", "_count"];

/**
 * Reads the text format, version 0.0.4, and refuses what Prometheus would refuse or misread: a line of no known form, a sample outside its family, a family in two places, two samples
 * with the same labels, a histogram whose buckets fall or do not end at its count.
 * @throws Error that names the line
 */
export function parseExposition(text: string): Family[] {
  if (!text.endsWith("\n")) throw new Error("the last line has no end");
  const families = new Map<string, Family>();
  let help = { name: "", text: "" };
  let current: Family | null = null;
  for (const line of text.split("\n")) {
    const comment = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line);
    if (line === "") continue;
    if (comment?.[1] === "HELP") help = { name: comment[2] ?? "", text: comment[3] ?? "" };
    else if (comment?.[1] === "TYPE") {
      const [, , name = "", type = ""] = comment;
      if (families.has(name) || help.name !== name) throw new Error(`a family in two places, or without HELP: ${line}`);
      current = { name, type, help: help.text, samples: [] };
      families.set(name, current);
    } else if (!line.startsWith("# ")) {
      const sample = sampleOf(line);
      if (current === null || !belongs(sample.name, current)) throw new Error(`not of the family before it: ${line}`);
      if (current.samples.some((other) => key(other) === key(sample))) throw new Error(`twice: ${line}`);
      current.samples.push(sample);
    }
  }
  for (const family of families.values()) if (family.type === "histogram") checkHistogram(family);
  return [...families.values()];
}

function sampleOf(line: string): Sample {
  const [, name = "", inside = "", number = ""] = SAMPLE.exec(line) ?? [];
  const value = number === "+Inf" ? Infinity : Number(number);
  if (name === "" || number === "" || Number.isNaN(value)) throw new Error(`no sample: ${line}`);
  const labels: Record<string, string> = {};
  LABEL.lastIndex = 0;
  for (let at = 0; at < inside.length; at = LABEL.lastIndex) {
    LABEL.lastIndex = at;
    const [, label = "", escaped = ""] = LABEL.exec(inside) ?? [];
    if (label === "" || label in labels) throw new Error(`its labels cannot be read: ${line}`);
    labels[label] = escaped.replaceAll(/\\(["\\n])/g, (_, mark: string) => (mark === "n" ? "\n" : mark));
  }
  return { name, labels, value };
}

function belongs(name: string, { name: family, type }: Family): boolean {
  return type === "histogram" ? SUFFIXES.some((suffix) => name === family + suffix) : name === family;
}

function key({ name, labels }: Sample): string {
  return JSON.stringify([name, Object.entries(labels).toSorted()]);
}

function checkHistogram({ name, samples }: Family): void {
  const withoutBound = ({ labels: { le: _, ...rest } }: Sample): string => JSON.stringify(Object.entries(rest).toSorted());
  const counts = samples.filter((sample) => sample.name === `${name}_count`);
  for (const count of counts) {
    const buckets = samples.filter((sample) => sample.name === `${name}_bucket` && withoutBound(sample) === withoutBound(count));
    const bounds = buckets.map(({ labels }) => (labels["le"] === "+Inf" ? Infinity : Number(labels["le"])));
    const isOrdered = buckets.every(({ value }, at) => at === 0 || (value >= (buckets[at - 1]?.value ?? 0) && (bounds[at] ?? 0) > (bounds[at - 1] ?? 0)));
    if (!isOrdered || bounds.at(-1) !== Infinity || buckets.at(-1)?.value !== count.value) throw new Error(`${name} is no histogram`);
  }
}
