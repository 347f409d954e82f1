import { describe, expect, it } from "vitest";
import { createRandom } from "../../deploy/quickstart/random.ts";
import { clusterItems } from "../../src/scenario/cluster.ts";
import { firstUserText } from "../../src/scenario/first-turn.ts";
import { bookingsWorld } from "../worlds/bookings-world.ts";
import { record } from "../worlds/record.ts";
import { shopWorld } from "../worlds/shop-world.ts";

const clustersOf = (texts: readonly string[]): readonly string[] => {
  const clusters = clusterItems(texts.map((text, index) => ({ id: `${index}`, text, toolsetHash: "t" })));
  return texts.map((_, index) => clusters.get(`${index}`) ?? "");
};

describe.each([[shopWorld], [bookingsWorld]])("tasks of the $name", (kind) => {
  const recorded = record(kind, { seed: 3, conversations: 200 });
  const texts = recorded.map(({ trajectory }) => firstUserText(trajectory));
  const clusters = clustersOf(texts);

  it("are never in one cluster with another kind of task, and in few clusters each", () => {
    const kinds = new Map<string, Set<string>>();
    for (const [index, cluster] of clusters.entries()) {
      kinds.set(cluster, (kinds.get(cluster) ?? new Set()).add(recorded[index]?.task.kind ?? ""));
    }
    expect([...kinds.values()].filter((of) => of.size > 1)).toEqual([]);
    const perKind = Map.groupBy(kinds.values(), (of) => [...of][0]);
    expect(perKind.size).toBeGreaterThan(2);
    for (const of of perKind.values()) expect(of.length).toBeLessThanOrEqual(6);
    expect(new Set(texts).size).toBeGreaterThan(3 * kinds.size);
  });
});

describe("large and hostile input", () => {
  /** In the process's own CPU time: a machine that does other things meanwhile does not count. */
  const timed = (texts: readonly string[]): { ms: number; clusters: readonly string[] } => {
    const start = process.cpuUsage();
    const clusters = clustersOf(texts);
    const { user, system } = process.cpuUsage(start);
    return { ms: (user + system) / 1_000, clusters };
  };

  it.each<[string, (index: number) => string, number, number]>([
    ["texts of one word each", (index) => `w${"abcdefghij"[index % 10]}`.repeat(1 + (index % 500)), 4_000, 4_000],
    ["long runs of letters", (index) => "a".repeat(1_000_000) + String(index), 6, 1],
    ["long runs of dashes and digits", (index) => "a-".repeat(400_000) + String(index), 6, 1],
    ["lone surrogates", (index) => "\ud800".repeat(5_000 + index), 20, 1],
  ])("%s take no square of their number or length", (_, text, count, most) => {
    const { ms, clusters } = timed(Array.from({ length: count }, (__, index) => text(index)));
    expect(ms).toBeLessThan(10_000);
    expect(new Set(clusters).size).toBeLessThanOrEqual(most);
  });

  it("many texts that share half their words cost about four times as much when they are four times as many", () => {
    const random = createRandom(1, 1);
    const word = (): string => Array.from({ length: 5 }, () => "abcdefghijklmnopqrstuvwxyz"[random.integer(0, 25)]).join("");
    const text = (): string => `please tell me what to do about the ${Array.from({ length: 9 }, word).join(" ")}`;
    const [few, many] = [Array.from({ length: 2_000 }, text), Array.from({ length: 8_000 }, text)];
    timed(few);
    const leastOf = (texts: readonly string[]): number => Math.min(...[1, 2, 3].map(() => timed(texts).ms));
    expect(leastOf(many)).toBeLessThan(12 * leastOf(few));
  });

  it("signs of a script without spaces are words", () => {
    const [one, other] = clustersOf(["请问我的订单什么时候可以送到家里来", "请问我的订单什么时候可以送到家里呢"]);
    expect(one).toBe(other);
  });
});
