import { expect, test } from "vitest";
import { sourcesOfGroup } from "../../src/rollout/sources.ts";
import { group, rollout } from "../reward/groups.ts";

test("a group's sources are its scenario and every tape that answered any member or was an answer's model, once", () => {
  const entry = { step: 0, tool: "t", callKey: "k", rung: "R3", confidence: 1, stateBefore: "", stateAfter: "", isError: false } as const;
  const members = [
    rollout([], { journal: [{ ...entry, servedFrom: { tape: "b@12", entry: 3 } }, entry] }),
    rollout([], {
      journal: [
        { ...entry, rung: "R4", madeFrom: ["a@1", "c@2"] },
        { ...entry, servedFrom: { tape: "b@12", entry: 0 } },
      ],
    }),
  ];
  expect(sourcesOfGroup(group("g", members))).toEqual(["a@1", "b@12", "c@2", "scenario"]);
});
