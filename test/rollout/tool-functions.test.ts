import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { createCascade } from "../../src/rollout/cascade/cascade.ts";
import { createTapePool } from "../../src/rollout/cascade/tape-pool.ts";
import { loadToolFunctions, type ToolFunction } from "../../src/rollout/cascade/tool-functions.ts";
import { learnProfiles } from "../../src/trajectory/learn-profiles.ts";
import { tapeOf } from "../../src/trajectory/record-tape.ts";
import { define, toolConfig } from "../worlds/world.ts";
import { conversation, play } from "./build.ts";

const directory = mkdtempSync(join(tmpdir(), "nightshift-function-"));
afterAll(() => rmSync(directory, { recursive: true }));
const module = (name: string, text: string): string => {
  const file = join(directory, name);
  writeFileSync(file, text);
  return file;
};
const sum = module("sum.mjs", "export default ({ a, b }) => { if (a > 99) throw new Error('too large'); return { sum: a + b }; };");

describe("loadToolFunctions", () => {
  it.each([
    ["a tool that is not pure", toolConfig({ class: "read", implementation: sum }), "only a pure tool has one"],
    ["a module that is not there", toolConfig({ class: "pure", implementation: join(directory, "none.mjs") }), "cannot be imported"],
    ["one that throws", toolConfig({ class: "pure", implementation: module("bad.mjs", "throw new Error('oops')") }), "oops"],
    ["one without the function", toolConfig({ class: "pure", implementation: module("empty.mjs", "export const x = 1;") }), "no function"],
  ])("refuses %s", async (_, config, problem) => {
    await expect(loadToolFunctions({ add: config })).rejects.toThrow(problem);
  });
});

describe("a pure tool with an implementation (R0)", () => {
  const configs = { add: toolConfig({ class: "pure", implementation: sum }) };
  const number = { type: "integer" };
  const tools = [define("add", { a: number, b: number })];
  const mine = conversation("mine", [{ tool: "add", args: { a: 1, b: 2 }, result: "three" }], { tools });
  const add = (a: unknown, b: unknown) => ({ tool: "add", args: { a, b } });
  const answersTo = async (...calls: ReturnType<typeof add>[]) => {
    const profiles = learnProfiles(configs, [mine]);
    const pool = createTapePool([tapeOf(mine, { profiles, split: "train" })], { profiles, split: "train" });
    return play(createCascade(pool, ["mine@1"], { functions: await loadToolFunctions(configs) }), mine, calls);
  };

  it("is computed where it was not recorded; the recording stands where it was", async () => {
    const answers = await answersTo(add(1, 2), add("4", 5));
    expect(answers.map(({ rung, result }) => [rung, result])).toEqual([
      ["R0", "three"],
      ["R0", '{"sum":9}'],
    ]);
  });

  it("fails as the tool would, and never for wrong arguments", async () => {
    const answers = await answersTo(add(100, 1), add("many", 1));
    expect(answers[0]).toMatchObject({ rung: "R0", result: '{"error":"too large"}', isError: true });
    expect(answers[1]?.rung).toBe("agent_error");
  });

  it("gives nothing where the function does", () => {
    const silent: ToolFunction = () => undefined;
    const profiles = learnProfiles(configs, [mine]);
    const pool = createTapePool([], { profiles, split: "train" });
    expect(play(createCascade(pool, [], { functions: new Map([["add", silent]]) }), mine, [add(1, 1)])[0]?.rung).toBe("R7");
  });
});
