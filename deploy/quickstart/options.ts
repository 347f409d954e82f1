import { parseArgs } from "node:util";
import type { LlmJudge, Sabotage } from "./settings.ts";

export interface Options {
  seed: number;
  json: boolean;
  sabotage: Sabotage | null;
  /** null: the scripted judge. */
  judge: LlmJudge | null;
  help: boolean;
}

export const HELP = `Runs the whole loop of Nightshift once, on this machine, on real input: a day of customers, a night of learning, a canary, fresh customers.

  npm run quickstart -- [--seed N] [--json] [--sabotage=gate|canary]

  --seed N            another day, other customers, another night (default 1)
  --json              the last line of the output is the result as JSON
  --sabotage=gate     trains on shuffled rewards: the gate should refuse the adapter
  --sabotage=canary   trains on inverted rewards with the gate off: the canary should roll it back

A scripted judge scores the night. For an LLM as the judge, at any OpenAI-compatible address:
  NIGHTSHIFT_JUDGE_URL     its base URL, such as http://localhost:8000/v1
  NIGHTSHIFT_JUDGE_MODEL   its model
  NIGHTSHIFT_JUDGE_KEY     its API key, if it wants one
`;

/** @throws RangeError naming the argument or variable and what it takes */
export function readOptions(args: readonly string[], env: Record<string, string | undefined>): Options {
  let values;
  try {
    ({ values } = parseArgs({
      args: [...args],
      options: {
        seed: { type: "string", default: "1" },
        json: { type: "boolean", default: false },
        sabotage: { type: "string" },
        help: { type: "boolean", short: "h", default: false },
      },
    }));
  } catch (error) {
    throw new RangeError(error instanceof Error ? error.message : String(error));
  }
  const seed = Number(values.seed);
  if (!Number.isSafeInteger(seed) || seed < 0 || seed > 1_000_000)
    throw new RangeError(`--seed takes a whole number from 0 to 1,000,000, not ${values.seed}`);
  const { sabotage } = values;
  if (sabotage !== undefined && sabotage !== "gate" && sabotage !== "canary")
    throw new RangeError(`--sabotage takes gate or canary, not ${sabotage}`);
  return { seed, json: values.json, sabotage: sabotage ?? null, judge: readJudge(env), help: values.help };
}

function readJudge(env: Record<string, string | undefined>): LlmJudge | null {
  const baseUrl = env["NIGHTSHIFT_JUDGE_URL"] ?? "";
  if (baseUrl === "") return null;
  if (!URL.canParse(baseUrl)) throw new RangeError(`NIGHTSHIFT_JUDGE_URL takes a URL, not ${baseUrl}`);
  const model = env["NIGHTSHIFT_JUDGE_MODEL"] ?? "";
  if (model === "") throw new RangeError("NIGHTSHIFT_JUDGE_URL needs NIGHTSHIFT_JUDGE_MODEL beside it: the name of the judge's model");
  return { baseUrl, model, hasKey: (env["NIGHTSHIFT_JUDGE_KEY"] ?? "") !== "" };
}
