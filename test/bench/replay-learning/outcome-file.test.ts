import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { scratchDirectory } from "../machine.ts";
import { openOutcomes } from "./outcome-file.ts";

const directory = scratchDirectory();
afterAll(() => rmSync(directory, { recursive: true }));

it("finds what an earlier run measured, under the same settings alone", () => {
  const file = join(directory, "outcomes.jsonl");
  const key = { world: "shop", settings: "one", seed: 3, arm: "replay" };
  const first = openOutcomes(file);
  expect(first.find(key)).toBeNull();
  first.keep({ ...key, outcomes: [true, false, true] });
  first.keep({ ...key, arm: "truth", outcomes: [false] });
  const later = openOutcomes(file);
  expect(later.find(key)).toEqual([true, false, true]);
  expect(later.find({ ...key, arm: "truth" })).toEqual([false]);
  for (const other of [{ settings: "two" }, { seed: 4 }, { world: "tickets" }, { arm: "sft" }])
    expect(later.find({ ...key, ...other })).toBeNull();
});
