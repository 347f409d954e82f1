import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { agentSchema } from "../../src/config-agent.ts";
import { createRecordings } from "../../src/rollout/recordings.ts";
import { selectScenarios } from "../../src/scenario/select.ts";
import { splitOf } from "../../src/scenario/split.ts";
import { drawWalls, type DrawnWalls, type WallMemory, type WallsInput } from "../../src/scenario/walls.ts";
import { tapeIdOf } from "../../src/trajectory/record-tape.ts";
import type { Trajectory } from "../../src/trajectory/trajectory.ts";
import { conversation, lookup, refund, shopConfigs } from "../rollout/build.ts";
import { openScenarios } from "./settings.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const nowMs = 1_000 * DAY;
const settings = { ...openScenarios, heldOutShare: 0.3, heldOutClusterShare: 0.3 };

const said = (id: string, says: string, options: { user?: string; startMs?: number } = {}): Trajectory =>
  conversation(id, [lookup(`A${id.length}1`), refund("A11")], { startMs: nowMs - 10 * DAY, says, user: `user of ${id}`, ...options });

const walls = (trajectories: readonly Trajectory[], input: Partial<WallsInput> = {}) =>
  drawWalls({ trajectories, config: settings, nowMs, ...input });

const remembered = (trajectories: readonly Trajectory[], { heldOutClusters }: DrawnWalls): WallMemory => ({
  known: trajectories.map(({ id }) => id),
  heldOutClusters,
});

/** Requests that have little in common. */
const TASKS = ["refund the lamp", "track a parcel", "change an address", "cancel the subscription", "lost password", "invoice copy"].map(
  (task, index) => `${task} ${["please now", "for my mother", "as we said", "before friday noon", "again and again", "in german"][index]}`,
);
const traffic = (from: number, to: number, tasks: readonly string[] = TASKS): Trajectory[] =>
  Array.from({ length: to - from }, (_, index) => said(`t${from + index}`, `${tasks[(from + index) % tasks.length]} A${from + index}`));

describe("clusters", () => {
  const many = Array.from(
    { length: 40 },
    (_, index) => `kind ${String.fromCharCode(97 + (index % 26)).repeat(5)} ${index < 26 ? "one" : "two"}`,
  );

  it("holds out about its share of small clusters, all conversations of each", () => {
    const all = traffic(0, 400, many);
    const heldOut = new Set(walls(all, { config: { ...settings, heldOutClusterShare: 0.25 } }).heldOutClusters);
    const tasks = new Set([...heldOut].map((id) => Number(id.slice(1)) % many.length));
    expect(tasks.size).toBeGreaterThan(3);
    expect(tasks.size).toBeLessThan(20);
    expect(heldOut.size).toBe(tasks.size * 10);
  });

  it("never holds out what is more than its share of the traffic", () => {
    for (const task of TASKS) expect(walls([...traffic(0, 60, [task]), ...traffic(60, 100, many)]).heldOutClusters).not.toContain("t0");
    expect(walls(traffic(0, 3)).heldOutClusters).toEqual([]);
  });

  it("does not let another toolset bring a held-out task to the other side", () => {
    const before = traffic(0, 400, many);
    const drawn = walls(before);
    const after = before.slice(0, 40).map((one) => ({ ...one, id: `${one.id}-new`, tools: [] }));
    const next = new Set(walls([...before, ...after], { memory: remembered(before, drawn) }).heldOutClusters);
    for (const one of before.slice(0, 40)) expect(next.has(`${one.id}-new`)).toBe(drawn.heldOutClusters.includes(one.id));
  });

  it("a text between both sides goes to evaluation where it is like something held out, and takes nothing with it", () => {
    const [held, trained] = ["one two three four five six seven eight nine ten", "six seven eight nine ten eleven twelve more of it all"];
    const bridge = "three four five six seven eight nine ten eleven twelve";
    const old = [said("h", held), ...["a", "b", "c"].map((id) => said(id, trained))];
    const memory = { known: ["h", "a", "b", "c"], heldOutClusters: ["h"] };
    const now = [...old, said("again", trained), said("like", `${held} please`), said("bridge", bridge)];
    expect(walls(now, { memory, config: { ...settings, heldOutClusterShare: 0.05 } }).heldOutClusters).toEqual(
      expect.arrayContaining(["h", "like"]),
    );
    expect(walls(now, { memory }).heldOutClusters).not.toEqual(expect.arrayContaining(["a"]));
    expect(walls(now, { memory }).heldOutClusters).not.toEqual(expect.arrayContaining(["again"]));
  });

  const words = fc
    .array(fc.constantFrom("a", "b", "c", "d", "e", "f", "g", "h", "i", "j"), { minLength: 3, maxLength: 7 })
    .map((letters) => letters.join(" "));
  test.prop([fc.array(fc.array(words, { minLength: 1, maxLength: 25 }), { minLength: 2, maxLength: 6 }), fc.integer({ min: 0, max: 9 })], {
    numRuns: 60,
  })("what was held out never trains later, however traffic grows and old conversations go", (nights, forget) => {
    let known: Trajectory[] = [];
    let memory: WallMemory | undefined;
    const everHeldOut = new Set<string>();
    for (const [night, texts] of nights.entries()) {
      // Retention takes some of the old; whatever the draw says, what is remembered stays.
      known = known.filter((_, index) => index % 10 !== forget);
      known = [...known, ...texts.map((text, index) => said(`n${night}-${index}`, text))];
      const drawn = walls(known, { memory, config: { ...settings, heldOutClusterShare: 0.5 } });
      const heldOut = new Set(drawn.heldOutClusters);
      for (const { id } of known) if (everHeldOut.has(id)) expect(heldOut.has(id)).toBe(true);
      const textsHeldOut = new Set(known.filter(({ id }) => heldOut.has(id)).map(text));
      // The same words are on the same side.
      expect(known.filter((one) => textsHeldOut.has(text(one)) && !heldOut.has(one.id))).toEqual([]);
      for (const id of heldOut) everHeldOut.add(id);
      memory = remembered(known, drawn);
    }
  });
  const text = (one: Trajectory): string => JSON.stringify(one.messages[1]);
});

describe("the cut-off", () => {
  const user = (split: string): string =>
    Array.from({ length: 100 }, (_, index) => `u${index}`).find((one) => splitOf(one, { salt: "acme", heldOutShare: 0.3 }) === split) ?? "";
  /** One conversation a day of each side, the newest `day` 0. */
  const daily = (split: string, days: number): Trajectory[] =>
    Array.from({ length: days }, (_, day) => said(`${split}${day}`, "x", { user: user(split), startMs: nowMs - (day + 1) * DAY }));
  const cutoff = (evaluation: number, training: number, window: Partial<(typeof settings)["evaluationWindow"]>, quarantineMs = 0) => {
    const config = { ...settings, quarantineMs, evaluationWindow: { minMs: 0, minConversations: 3, maxTrainLoss: 0.25, ...window } };
    const { cutoffMs } = walls([...daily("held_out", evaluation), ...daily("train", training)], { config });
    return cutoffMs === null ? null : (nowMs - cutoffMs - 1) / DAY;
  };

  it.each<[string, number | null, Parameters<typeof cutoff>]>([
    ["lies just before the wanted number of evaluation's conversations", 3, [20, 20, {}]],
    ["is left out where evaluation has fewer", null, [2, 20, {}]],
    ["is left out where training would lose too much", null, [20, 8, {}]],
    ["or may lose more", 3, [20, 8, { maxTrainLoss: 0.5 }]],
    ["leaves a span", 6 - 1 / DAY, [20, 24, { minMs: 5 * DAY }]],
    ["counts nothing in quarantine", 5, [20, 20, {}, 2 * DAY]],
    ["is off where nothing is wanted", null, [20, 20, { minConversations: 0 }]],
  ])("%s", (_, days, args) => {
    const found = cutoff(...args);
    if (days === null) expect(found).toBeNull();
    else expect(found).toBeCloseTo(days, 6);
  });

  it("splits by time: evaluation is later than all that trains, and the funnel says what the wall cost", () => {
    const trajectories = [...daily("held_out", 20), ...daily("train", 20)];
    const config = { ...settings, heldOutClusterShare: 0, evaluationWindow: { minMs: 0, minConversations: 3, maxTrainLoss: 0.25 } };
    const chosen = selectScenarios({ trajectories, tapes: [], feedback: [], config, seed: 1, nowMs, count: 99, heldOutCount: 99 });
    expect(chosen.funnel.leftOut).toEqual({ before_cutoff: 17, after_cutoff: 3 });
    expect(chosen.funnel.selected).toEqual({ train: 17, heldOut: 3 });
    const newestTrained = Math.max(...chosen.train.map(({ recordedAtMs }) => recordedAtMs));
    expect(Math.min(...chosen.heldOut.map(({ recordedAtMs }) => recordedAtMs))).toBeGreaterThan(newestTrained);
  });
});

describe("nothing of evaluation reaches training", () => {
  const talks = fc.array(
    fc.record({ task: fc.integer({ min: 0, max: 11 }), user: fc.integer({ min: 0, max: 12 }), hour: fc.integer({ min: 1, max: 400 }) }),
    { minLength: 20, maxLength: 45 },
  );
  test.prop([talks, fc.integer({ min: 1, max: 12 }), fc.constantFrom(0.05, 0.3, 0.6)], { numRuns: 20 })(
    "no scenario, tape pool or write model of training has a held-out user, cluster or hour in it",
    (drawn, minConversations, heldOutShare) => {
      const trajectories = drawn.map(({ task, user, hour }, index) =>
        said(`c${index}`, `${TASKS[task % 6]} ${task > 5 ? "the second time this year" : ""} A${index}`, {
          user: `u${user}`,
          startMs: nowMs - hour * HOUR,
        }),
      );
      const scenario = {
        ...{ heldOutShare, heldOutClusterShare: 0.3, quarantineMs: 0, minUsersPerCluster: 1, maxShareOfRunPerUser: 1, maxPerCluster: 99 },
        evaluationWindow: { minMs: 0, minConversations, maxTrainLoss: 0.6 },
      };
      const config = agentSchema.parse({ model: "m", baseModel: "b", tools: shopConfigs, scenario });
      const recordings = createRecordings({ trajectories, feedback: [], config, nowMs });
      const { train, heldOut } = selectScenarios({ ...recordings.selection, seed: 1, count: 999, heldOutCount: 999 });
      const { cutoffMs, heldOutClusters } = recordings.walls;
      const clusters = new Set(heldOutClusters);
      const isEvaluation = (one: Trajectory): boolean =>
        splitOf(one.subject ?? "", { salt: "acme", heldOutShare }) === "held_out" ||
        clusters.has(one.id) ||
        (cutoffMs !== null && one.endedAtMs > cutoffMs);
      const evaluation = new Set(trajectories.filter(isEvaluation).map(tapeIdOf));
      const used = train.flatMap(({ trajectoryId, trajectoryVersion, tapes }) => [`${trajectoryId}@${trajectoryVersion}`, ...tapes]);
      expect(used.filter((tape) => evaluation.has(tape))).toEqual([]);
      const { pool } = recordings.cascade("train");
      const answering = ["lookup_order", "issue_refund"].flatMap((tool) => pool.ofTool(tool).map(({ tape }) => tape.id));
      expect(answering.filter((tape) => evaluation.has(tape))).toEqual([]);
      expect([...evaluation].flatMap((tape) => pool.ofTape(tape))).toEqual([]);
      // And the other way round: tonight's suite is people who never train, after what trains.
      for (const { subject, recordedAtMs } of heldOut) {
        expect(splitOf(subject, { salt: "acme", heldOutShare })).toBe("held_out");
        expect(recordedAtMs).toBeGreaterThan(cutoffMs ?? 0);
      }
      const served = ["lookup_order", "issue_refund"].flatMap((tool) => recordings.cascade("held_out").pool.ofTool(tool));
      const mayTrain = new Set(train.flatMap(({ tapes }) => tapes));
      expect(served.filter(({ tape }) => mayTrain.has(tape.id))).toEqual([]);
    },
    60_000,
  );
});
