import { createRandom, type Random } from "../../deploy/quickstart/random.ts";
import type { ToolShape } from "../../src/trajectory/record-tape.ts";
import type { Recorded } from "./conversation.ts";
import type { WorldCall, WorldKind } from "./world.ts";

export type Turns = readonly (readonly WorldCall[])[];
type Change = "swap" | "drop" | "duplicate" | "insert_other" | "insert_own";

const changes: readonly Change[] = ["swap", "drop", "duplicate", "insert_other", "insert_own"];

/**
 * Another attempt at a recorded conversation: its turns with one to three changes (neighbours swapped, a turn dropped or repeated, a call of another
 * conversation or one that the recorded run forgot put in) and arguments in other forms that mean the same. A function of its seed.
 */
export function perturbed(kind: WorldKind, recorded: readonly Recorded[], one: Recorded, seed: number): Turns {
  const random = createRandom("perturb", kind.name, one.trajectory.id, seed);
  let turns: Turns = one.turns;
  for (let left = random.integer(1, 3); left > 0; left -= 1) turns = changed(kind, recorded, one, turns, random);
  return turns.map((calls) => calls.map((call) => (random.chance(0.25) ? noisy(one.trajectory.tools ?? [], call, random) : call)));
}

function changed(kind: WorldKind, recorded: readonly Recorded[], one: Recorded, turns: Turns, random: Random): Turns {
  const change = random.pick(changes);
  const at = random.integer(0, turns.length);
  const [before, here, after] = [turns.slice(0, at), turns.slice(at, at + 1), turns.slice(at + 1)];
  if (change === "insert_own") return [...before, [kind.extra(one.task, random)], ...here, ...after];
  if (change === "insert_other") {
    const foreign = random.pick(recorded).turns.flat();
    return foreign.length === 0 ? turns : [...before, [random.pick(foreign)], ...here, ...after];
  }
  if (change === "drop") return [...before, ...after];
  if (change === "duplicate") return [...before, ...here, ...here, ...after];
  return [...before, ...after.slice(0, 1), ...here, ...after.slice(1)];
}

/** The same call in another form: blanks around texts, numbers as texts, defaults spelled out, clocks and nonces of its own. */
function noisy(tools: readonly ToolShape[], call: WorldCall, random: Random): WorldCall {
  const properties = tools.find(({ name }) => name === call.tool)?.parameters?.["properties"];
  if (properties === undefined || typeof call.args !== "object" || call.args === null) return call;
  const schemas = properties as Record<string, { type?: string; default?: unknown }>;
  const given: Record<string, unknown> = { ...call.args };
  for (const [name, schema] of Object.entries(schemas)) {
    const value = given[name];
    if (name === "request_id" || name === "now") given[name] = `q-${random.integer(0, 1e9)}`;
    else if (value === undefined && schema.default !== undefined && random.chance(0.5)) given[name] = schema.default;
    else if (typeof value === "number" && random.chance(0.5)) given[name] = random.pick([String(value), `${value}.0`]);
    else if (typeof value === "string" && random.chance(0.3)) given[name] = ` ${value} `;
  }
  return { tool: call.tool, args: given };
}
