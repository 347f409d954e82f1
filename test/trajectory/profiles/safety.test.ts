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
import { byPolicy, cascadeOf, compare, libraryOf } from "../../worlds/compare.ts";
import type { Recorded } from "../../worlds/conversation.ts";
import { record } from "../../worlds/record.ts";
import { shopWorld } from "../../worlds/shop-world.ts";
import { coverageOf } from "../../worlds/tally.ts";
import { reads, timeOf, traffic, unsaid, uuid, type Call } from "./traffic.ts";

/**
 * One conversation about one item: repeats of a read with a time and perhaps a drawn value. Mostly neither matters to the answer; at an odd turn one
 * does, and a write in between may change it.
 */
interface Talk {
  item: string;
  repeats: number;
  page: number | null;
  write: number | null;
  odd: { turn: number; by: "at" | "request" } | null;
}
const seldom = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | null> =>
  fc.oneof({ weight: 4, arbitrary: fc.constant(null) }, { weight: 1, arbitrary });
const talk: fc.Arbitrary<Talk> = fc.record({
  item: fc.constantFrom("a", "b", "c", "d"),
  repeats: fc.integer({ min: 2, max: 4 }),
  page: seldom(fc.constantFrom(1, 2)),
  write: seldom(fc.integer({ min: 0, max: 3 })),
  odd: seldom(fc.record({ turn: fc.integer({ min: 0, max: 3 }), by: fc.constantFrom("at" as const, "request" as const) })),
});

function generated(talks: readonly Talk[], rule: { drawn: boolean; reused: boolean; isOdd: boolean }): Trajectory[] {
  return traffic(talks.length, [reads("read", "item", "at", "request"), unsaid("put", "item")], (index, startMs) => {
    const { item, repeats, page, write, odd } = talks[index] as Talk;
    return Array.from({ length: repeats }, (_, turn): Call => {
      if (turn === write) return { tool: "put", args: { item }, result: { ok: true } };
      const at = timeOf(startMs, turn);
      const request = uuid(rule.reused ? index : index * 100 + turn);
      const matters = !rule.isOdd || odd === null || odd.turn !== turn ? null : odd.by === "at" ? at : request;
      const state = write !== null && turn > write ? "changed" : "new";
      const args = { item, at, ...(rule.drawn ? { request } : {}), ...(page === null ? {} : { page }) };
      return { tool: "read", args, result: { item, page, state, matters } };
    });
  });
}

describe("call keys", () => {
  const rules = fc.record({ drawn: fc.boolean(), reused: fc.boolean(), isOdd: fc.boolean() });
  test.prop([fc.array(talk, { minLength: 12, maxLength: 25 }), rules], { numRuns: 100 })(
    "never join two calls of one state that were answered differently",
    (talks, rule) => {
      const trajectories = generated(talks, rule);
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
    const talks = Array.from({ length: 12 }, (_, index): Talk => {
      return { item: ["a", "b", "c", "d"][index % 4] ?? "a", repeats: 2, page: null, write: null, odd: null };
    });
    const trajectories = generated(talks, { drawn: true, reused: false, isOdd: false });
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
  // Nearly every call there has a nonce, a clock or another's pseudonym in it.
  { world: bookingsWorld, lying: "check_in", annotated: false, atLeast: 0.05 },
  { world: bookingsWorld, lying: "check_in", annotated: true, atLeast: 0.1 },
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
    const tally = compare(kind, byPolicy(kind, recorded.slice(-40), 2), () => cascade);
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
