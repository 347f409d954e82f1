import { parseArgs } from "node:util";
import type { Sabotage } from "./settings.ts";

export interface Options {
  seed: number;
  json: boolean;
  sabotage: Sabotage | null;
  help: boolean;
}

export const HELP = `Runs the whole loop of Nightshift once, on this machine, on real input: a day of customers, a night of learning, a canary, fresh customers.

  npm run quickstart -- [--seed N] [--json] [--sabotage=gate|canary]

  --seed N            another day, other customers, another night (default 1)
  --json              the last line of the output is the result as JSON
  --sabotage=gate     trains on shuffled rewards: the gate should refuse the adapter
  --sabotage=canary   trains on inverted rewards with the gate off: the canary should roll it back
`;

/** @throws RangeError naming the argument and what it takes */
export function readOptions(args: readonly string[]): Options {
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
  return { seed, json: values.json, sabotage: sabotage ?? null, help: values.help };
}
