import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parseConfig } from "../../src/config.ts";
import { createRecordings } from "../../src/rollout/recordings.ts";
import { selfReplay } from "../../src/rollout/replay-check.ts";
import { assemble } from "../../src/trajectory/assemble.ts";
import type { Trajectory } from "../../src/trajectory/trajectory.ts";
import { verdictOf } from "../../src/trajectory/verdict.ts";
import { callsOf } from "../fixtures/otlp/golden.ts";
import { RECORDINGS } from "../fixtures/otlp/recordings.ts";
import { fixtureFile } from "../fixtures/otlp/rewrite.ts";

const { agents } = parseConfig({ agents: { any: { model: "m", baseModel: "b" } } });
const config = agents["any"]!;

function recorded(name: string): Trajectory {
  const calls = callsOf({ traces: readFileSync(fixtureFile(name, "traces.bin")), logs: readFileSync(fixtureFile(name, "logs.bin")) });
  const [draft] = assemble({ id: "c", key: "k", tenant: "default", agent: "any" }, calls, agents);
  if (draft === undefined) throw new Error(`${name} was not assembled`);
  return { ...draft.trajectory, version: 1, contentHash: "", verdict: verdictOf(draft, { trainingConsent: "allow" }) };
}

/** As `nightshift replay` does it. */
function replay(trajectory: Trajectory) {
  const recordings = createRecordings({ trajectories: [trajectory], feedback: [], config, nowMs: 0 });
  return selfReplay(trajectory, recordings.cascade(recordings.walls.placeOf(trajectory).split));
}

describe.each(Object.entries(RECORDINGS))("recorded with %s", (name, { reasons }) => {
  if (reasons.length > 0) {
    test("says why it cannot be replayed", () => {
      expect(recorded(name).verdict).toEqual({ trainable: false, reasons });
    });
  } else {
    test("every tool answer is served again byte for byte, with none left over", () => {
      const { calls, mismatches, unused } = replay(recorded(name));
      expect({ calls, mismatches, unused }).toEqual({ calls: 4, mismatches: [], unused: 0 });
    });
  }
});
