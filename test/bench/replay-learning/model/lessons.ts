/**
 * What a world's starting policy learns from, for `train.py`: `node lessons.ts --world bookings` prints its prompt and tools as JSON, and with
 * `--seed 1 --count 1000 --noise noisy` so many conversations of its teacher, one a line.
 */
import { parseArgs } from "node:util";
import { worldNamed } from "../worlds.ts";

const { values } = parseArgs({
  options: { world: { type: "string", default: "" }, seed: { type: "string" }, count: { type: "string" }, noise: { type: "string" } },
});
const { systemPrompt, tools, model } = worldNamed(values.world);
if (values.seed === undefined) {
  process.stdout.write(`${JSON.stringify([systemPrompt, tools.map((tool) => ({ type: "function", function: tool }))])}\n`);
} else if ("lessons" in model) {
  const noise = values.noise === "clean" ? "clean" : "noisy";
  for (const one of model.lessons.conversations(Number(values.seed), Number(values.count), noise))
    process.stdout.write(`${JSON.stringify(one)}\n`);
} else {
  throw new RangeError(`${values.world} has a model and no lessons`);
}
