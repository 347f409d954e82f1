import { fc, test } from "@fast-check/vitest";
import { beforeAll, describe, expect, it } from "vitest";
import { selfReplay } from "../../../src/rollout/replay-check.ts";
import { withEras } from "../../../src/trajectory/era.ts";
import { learnProfiles } from "../../../src/trajectory/learn-profiles.ts";
import { parseResult, tapeOf } from "../../../src/trajectory/record-tape.ts";
import { canonicalJson } from "../../../src/trajectory/canonical-arguments.ts";
import type { Trajectory } from "../../../src/trajectory/trajectory.ts";
import { createWriteLog, countOf, prefixOf, versionOf } from "../../../src/trajectory/write-state.ts";
import { bookingsWorld } from "../../worlds/bookings-world.ts";
import { cascadeOf, compare, coverageOf, libraryOf } from "../../worlds/compare.ts";
import { record, type Recorded } from "../../worlds/record.ts";
import { shopWorld } from "../../worlds/shop-world.ts";
import { reads, timeOf, traffic, unsaid, uuid, type Call } from "./traffic.ts";

/** One call of a tool that reads `item`, with a time, a drawn value and a page that may or may not matter to its answer. */
const asked = fc.record({
  item: fc.constantFrom("a", "b", "c", "d"),
  page: fc.constantFrom(undefined, 1, 2),
  write: fc.boolean(),
});
const rules = fc.record({ byTime: fc.boolean(), byDrawn: fc.boolean(), byPage: fc.boolean(), reused: fc.boolean(), drawn: fc.boolean() });

function generated(
  turns: readonly (typeof asked extends fc.Arbitrary<infer T> ? T : never)[][],
  rule: Record<string, boolean>,
): Trajectory[] {
  return traffic(turns.length, [reads("read", "item", "at", "request"), unsaid("put", "item")], (index, startMs) =>
    (turns[index] ?? []).map(({ item, page, write }, turn): Call => {
      if (write) return { tool: "put", args: { item }, result: { ok: true } };
      const at = timeOf(startMs, turn);
      const request = uuid(rule["reused"] === true ? index : index * 100 + turn);
      const shown = [
        item,
        rule["byTime"] === true ? at : 0,
        rule["byDrawn"] === true ? request : 0,
        rule["byPage"] === true ? (page ?? 0) : 0,
      ];
      return { tool: "read", args: { item, at, ...(rule["drawn"] === true ? { request } : {}), ...(page && { page }) }, result: { shown } };
    }),
  );
}

describe("call keys", () => {
  test.prop([fc.array(fc.array(asked, { minLength: 2, maxLength: 6 }), { minLength: 8, maxLength: 20 }), rules], { numRuns: 60 })(
    "never join two calls of one state that were answered differently",
    (turns, rule) => {
      const trajectories = generated(turns, rule);
      const profiles = learnProfiles({}, trajectories);
      for (const tape of withEras(trajectories.map((one) => tapeOf(one, { profiles, split: "train" })))) {
        const answers = new Map<string, string>();
        for (const entry of tape.entries.filter(({ tool }) => tool === "read")) {
          const key = `${entry.callKey} ${entry.writePrefix}`;
          const answer = canonicalJson(parseResult(entry.result));
          expect(answers.get(key) ?? answer).toBe(answer);
          answers.set(key, answer);
        }
      }
    },
  );

  it("do join what differs in a clock alone, or the property above would say nothing", () => {
    const twice = Array.from({ length: 12 }, (_, index) => {
      const call = { item: ["a", "b", "c", "d"][index % 4] as "a", page: undefined, write: false };
      return [call, call];
    });
    const trajectories = generated(twice, {});
    const profiles = learnProfiles({}, trajectories);
    const keys = trajectories.map((one) => tapeOf(one, { profiles, split: "train" }).entries.map(({ callKey }) => callKey));
    expect(keys.every(([first, second]) => first === second)).toBe(true);
  });
});

test.prop([fc.array(fc.tuple(fc.constantFrom("k1", "k2"), fc.subarray(["a", "b", "*"], { minLength: 1 })), { maxLength: 12 })])(
  "a write log tells the same as going through all writes",
  (events) => {
    const log = createWriteLog();
    const writes = events.map(([writeKey, entities]) => ({ writeKey, entities }));
    for (const write of writes) log.add(write);
    expect(log.prefix()).toBe(prefixOf(writes));
    for (const entity of ["a", "b", "c", "*"]) {
      expect([log.versionOf(entity), log.countOf(entity)]).toEqual([versionOf(writes, entity), countOf(writes, entity)]);
    }
  },
);

const readers = new Set(["lookup_order", "list_orders", "refund_policy", "search_items", "search_rooms", "get_room", "get_booking"]);

describe.each([
  { world: shopWorld, lying: "none", annotated: false, atLeast: 0.35 },
  { world: shopWorld, lying: "none", annotated: true, atLeast: 0.6 },
  { world: bookingsWorld, lying: "check_in", annotated: false, atLeast: 0.2 },
  { world: bookingsWorld, lying: "check_in", annotated: true, atLeast: 0.55 },
])("the $world.name without any config, annotated: $annotated", ({ world, lying, annotated, atLeast }) => {
  let recorded: readonly Recorded[];
  const kind = {
    ...world,
    toolConfigs: {},
    tools: world.tools.map((tool) =>
      annotated ? { ...tool, annotations: { readOnlyHint: readers.has(tool.name) || tool.name === lying } } : tool,
    ),
  };
  beforeAll(() => {
    recorded = record(kind, { seed: 1, conversations: 150 });
  });

  it("is served back byte for byte, and nothing wrong at R0–R2 to others", () => {
    const library = libraryOf(kind, recorded);
    const cascade = cascadeOf(library);
    expect(recorded.flatMap(({ trajectory }) => selfReplay(trajectory, cascade).mismatches)).toEqual([]);
    const tally = compare(kind, recorded.slice(-40), () => cascade, 2);
    const rungs = Object.entries(tally.byRung).map(
      ([rung, { served, wrong }]) => `${rung} ${served}${rung === "R7" ? "" : ` (wrong ${wrong})`}`,
    );
    process.stdout.write(
      `${kind.name} without config${annotated ? ", annotated" : ""}: coverage ${(100 * coverageOf(tally)).toFixed(1)} %; ${rungs.join(", ")}\n`,
    );
    expect(tally.wrong.filter(({ rung }) => ["R0", "R1", "R2"].includes(rung))).toEqual([]);
    expect(coverageOf(tally)).toBeGreaterThan(atLeast);
    if (annotated && lying !== "none") expect(library.profiles.get(lying)).toMatchObject({ cls: "write", evidence: "demoted" });
  });
});
