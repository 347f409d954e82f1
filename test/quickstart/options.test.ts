import { describe, expect, it } from "vitest";
import { parseConfig } from "../../src/config.ts";
import { readOptions } from "../../deploy/quickstart/options.ts";
import { AGENT, quickstartConfig } from "../../deploy/quickstart/settings.ts";

const JUDGE = { NIGHTSHIFT_JUDGE_URL: "http://localhost:8000/v1", NIGHTSHIFT_JUDGE_MODEL: "big" };

describe("readOptions", () => {
  it("knows its defaults and every option", () => {
    expect(readOptions([], {})).toEqual({ seed: 1, json: false, sabotage: null, judge: null, help: false });
    expect(readOptions(["--seed", "3", "--json", "--sabotage=gate", "-h"], JUDGE)).toEqual({
      ...{ seed: 3, json: true, sabotage: "gate", help: true },
      judge: { baseUrl: "http://localhost:8000/v1", model: "big", hasKey: false },
    });
  });

  it.each([
    [["--seed", "x"], {}, "--seed takes a whole number from 0 to 1,000,000, not x"],
    [["--sabotage=all"], {}, "--sabotage takes gate or canary, not all"],
    [["--fast"], {}, "--fast"],
    [[], { ...JUDGE, NIGHTSHIFT_JUDGE_URL: "localhost" }, "NIGHTSHIFT_JUDGE_URL takes a URL, not localhost"],
    [[], { ...JUDGE, NIGHTSHIFT_JUDGE_MODEL: "" }, "needs NIGHTSHIFT_JUDGE_MODEL"],
  ])("refuses %j %j", (args, env, message) => {
    expect(() => readOptions(args, env)).toThrow(message);
  });
});

it("an LLM judges groups, its key stays in the environment, and the gate keeps a judge that did not train", () => {
  const { judge } = readOptions([], { ...JUDGE, NIGHTSHIFT_JUDGE_KEY: "secret-key" });
  const tree = quickstartConfig({ root: "/repository", dataDir: "/data", seed: 1, sabotage: null, judge });
  expect(JSON.stringify(tree)).not.toContain("secret-key");
  const agent = parseConfig(tree).agents[AGENT];
  expect(agent?.judge).toMatchObject({
    driver: "ruler",
    baseUrl: JUDGE.NIGHTSHIFT_JUDGE_URL,
    model: "big",
    apiKeyEnv: "NIGHTSHIFT_JUDGE_KEY",
  });
  expect(agent?.pairJudge).toMatchObject({ driver: "scripted" });
});
