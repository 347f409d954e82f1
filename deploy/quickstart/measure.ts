import type { Served } from "./crowd.ts";
import type { Customer, Tone } from "./customers.ts";
import { createRandom } from "./random.ts";

/** The same customers served twice: once by stable, once by what was promoted. `before[i]` and `after[i]` are one customer. */
export interface Comparison {
  customers: number;
  before: Share;
  after: Share;
  /** after − before in points of success. */
  difference: number;
  /** Two-sided 95 % paired bootstrap interval of `difference`. */
  interval: [number, number];
  slices: { name: string; before: Share; after: Share }[];
}

export interface Share {
  successes: number;
  of: number;
}

const RESAMPLES = 4_000;

/** One visit per customer, so that every customer counts once: their visits take turns, which keeps the day's mix of requests. */
export function oneVisitEach(customers: readonly Customer[]): Customer[] {
  return customers.map((customer, index) => ({ ...customer, visits: customer.visits.slice(index % customer.visits.length).slice(0, 1) }));
}

/** @throws RangeError when the two lists do not hold the same contacts */
export function compare(before: readonly Served[], after: readonly Served[], seed: number): Comparison {
  const afterById = new Map(after.map((served) => [served.contact.contactId, served]));
  const pairs = before
    .toSorted((a, b) => (a.contact.contactId < b.contact.contactId ? -1 : 1))
    .map((first) => {
      const second = afterById.get(first.contact.contactId);
      if (second === undefined || before.length !== after.length) throw new RangeError("before and after did not serve the same customers");
      return { tone: first.contact.tone, kind: first.contact.kind, before: first.outcome.success, after: second.outcome.success };
    });
  const differences = pairs.map((pair) => Number(pair.after) - Number(pair.before));
  const slice = (name: string, members: typeof pairs): Comparison["slices"][number] => ({
    name,
    before: shareOf(members.map((pair) => pair.before)),
    after: shareOf(members.map((pair) => pair.after)),
  });
  const tones: readonly Tone[] = ["plain", "terse", "pushy"];
  return {
    customers: pairs.length,
    before: shareOf(pairs.map((pair) => pair.before)),
    after: shareOf(pairs.map((pair) => pair.after)),
    difference: mean(differences),
    interval: pairedBootstrap(differences, seed),
    slices: [
      ...tones.map((tone) =>
        slice(
          tone,
          pairs.filter((pair) => pair.tone === tone),
        ),
      ),
      ...(["status", "refund"] as const).map((kind) =>
        slice(
          kind,
          pairs.filter((pair) => pair.kind === kind),
        ),
      ),
    ],
  };
}

/** Percentile bootstrap over the per-customer differences (Efron): resamples customers, keeps their pairs together. */
function pairedBootstrap(differences: readonly number[], seed: number): [number, number] {
  const random = createRandom("bootstrap", seed);
  const means = Array.from({ length: RESAMPLES }, () => {
    let sum = 0;
    for (let draw = 0; draw < differences.length; draw += 1) sum += differences[random.integer(0, differences.length - 1)] ?? 0;
    return sum / differences.length;
  }).toSorted((a, b) => a - b);
  const at = (quantile: number): number => means[Math.min(RESAMPLES - 1, Math.floor(quantile * RESAMPLES))] ?? 0;
  return [at(0.025), at(0.975)];
}

function shareOf(outcomes: readonly boolean[]): Share {
  return { successes: outcomes.filter(Boolean).length, of: outcomes.length };
}

function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}
