import { EVERYTHING, entitiesOfCall, isScalar } from "../../trajectory/entities.ts";
import { valueAtPath } from "../../trajectory/canonical-arguments.ts";
import { mayWrite, profileOf } from "../../trajectory/tool-profile.ts";
import { beliefAfter } from "../confidence.ts";
import { sameTool, type PreparedCall } from "./prepare.ts";
import { renderLike } from "./render.ts";
import type { Situation } from "./situation.ts";
import type { PooledEntry, TapePool } from "./tape-pool.ts";

/** Above this share of successes with values that the agent came up with itself, such a value is no mistake. */
const MAX_RIGHT_SHARE = 0.05;

/** Confidence in a mistake that nobody was seen to make: few tapes show few of the keys that there are, and a guess is as often one of the others. */
const UNTRIED = 0.4;

/** Conversations in which a write with such a value failed before it is one there. */
const MIN_WRONG_WRITES = 3;

/** The agent's own mistakes: answered with the tool's recorded error, or a stated generic one, and never a reason to mask. */
export type Mistake =
  | { kind: "unknown_tool" }
  | { kind: "invalid_arguments"; problem: string }
  /** `belief`: confidence that it is one. */
  | { kind: "unknown_key"; belief: number };

/** A tool that the scenario does not have, or arguments that break its schema; null otherwise. */
export function malformed(call: PreparedCall): Mistake | null {
  if (call.schema === null) return { kind: "unknown_tool" };
  const problem = call.schema.problemOf(call.args);
  return problem === null ? null : { kind: "invalid_arguments", problem };
}

/**
 * A key that nobody of the tenant ever showed, that the conversation never mentioned and that no write of this rollout made: the agent invented it.
 * A key out of the conversation that no tape knows is no mistake but a miss.
 */
export function inventedKey({ pool, start, overlay }: Situation, call: PreparedCall): Mistake | null {
  const made = (value: string): boolean =>
    overlay.writes.some(({ views }) => [...views.values()].some((view) => [...view.values()].some((shown) => String(shown) === value)));
  const invented = unseenKeys(pool, call).filter(({ value }) => !start.toldText.includes(value) && !made(value));
  if (invented.length === 0) return null;
  // As far as keys that agents came up with were seen to fail there, one that is wrong being enough.
  const beliefs = invented.map(({ path }) => {
    const { succeeded, failed } = pool.unheard(call.tool, path);
    return failed === 0 ? UNTRIED : beliefAfter({ same: failed, changed: succeeded });
  });
  return { kind: "unknown_key", belief: Math.max(...beliefs) };
}

/** The mistake's answer: the newest recorded one of its kind with this call's values, else a generic error that says what is wrong. */
export function mistakeAnswer({ pool }: Situation, call: PreparedCall, mistake: Mistake): { result: string; madeFrom: readonly string[] } {
  const example = pool
    .ofTool(call.tool)
    .find((seen) => seen.entry.isError && sameTool(call, seen.entry) && errorKind(pool, call, seen) === mistake.kind);
  if (example === undefined) return { result: JSON.stringify({ error: genericText(call, mistake) }), madeFrom: [] };
  const recorded = { result: example.entry.result, parsed: example.parsed, args: example.args };
  const result = renderLike({ recorded, args: call.args, views: { recorded: null, here: null }, volatilePaths: [], seed: [] });
  return { result, madeFrom: [example.tape.id] };
}

/** Which mistake a recorded error answered; null for one that the world's state caused. */
export function errorKind(pool: TapePool, call: Pick<PreparedCall, "schema">, seen: PooledEntry): Mistake["kind"] | null {
  if (call.schema === null) return "unknown_tool";
  if (call.schema.problemOf(seen.args) !== null) return "invalid_arguments";
  const profile = profileOf(pool.profiles, seen.entry.tool);
  return unseenKeys(pool, { profile, args: seen.args }).length > 0 ? "unknown_key" : null;
}

/** Key arguments of a call whose value no successful call of the tenant showed, neither under their name nor as the entity they name. */
function unseenKeys(pool: TapePool, call: Pick<PreparedCall, "profile" | "args">): readonly { path: string; value: string }[] {
  const entities = entitiesOfCall(call.profile, call.args).filter((entity) => entity !== EVERYTHING);
  if (entities.length > 0 && entities.every((entity) => pool.knowsEntity(entity))) return [];
  return Object.entries(call.profile.argumentRoles).flatMap(([path, role]) => {
    const value = role === "key" ? valueAtPath(call.args, path) : undefined;
    if (!isScalar(value) || value === null || value === "") return [];
    // Where agents name what is to be made, or rightly guess, a key that nobody has shown yet is none of their inventions.
    const { succeeded, failed } = pool.unheard(call.profile.tool, path);
    if (succeeded > MAX_RIGHT_SHARE * (succeeded + failed)) return [];
    // A write may name what it makes: that a new name is a mistake there must have been seen.
    if (failed < MIN_WRONG_WRITES && mayWrite(call.profile)) return [];
    return pool.knowsKey(path.split(".").at(-1) ?? path, value) ? [] : [{ path, value: String(value) }];
  });
}

function genericText(call: PreparedCall, mistake: Mistake): string {
  if (mistake.kind === "unknown_tool") return `unknown tool: ${call.tool.slice(0, 100)}`;
  return mistake.kind === "unknown_key" ? "not found" : `invalid arguments: ${mistake.problem.slice(0, 300)}`;
}
