import { isScalar } from "../../trajectory/entities.ts";
import { givesSame } from "./consensus.ts";
import type { PreparedCall } from "./prepare.ts";
import { formatLike } from "./render.ts";
import type { PooledEntry } from "./tape-pool.ts";
import type { Forms } from "./write-samples.ts";

/** Conversations that must have been answered so. */
const MIN_ECHOES = 2;

/**
 * What a write answers that says back what it was given, and nothing else: as every recorded success with the same arguments did, on tapes of either split. Every name
 * and value of it is the call's own; counted is only that there is nothing else, and in which order. Null where tapes do not show so.
 */
export function echoOf(call: PreparedCall, { examples }: Pick<Forms, "examples">): string | null {
  const alike = examples.map(({ seen }) => seen).filter((seen) => givesSame(seen, call));
  const [first] = alike;
  if (first === undefined || new Set(alike.map(({ tape }) => tape.conversationId)).size < MIN_ECHOES) return null;
  const names = fieldsOf(first.parsed);
  if (names.length === 0 || !alike.every((seen) => seen.entry.result === saidBack(seen.args, names, first))) return null;
  return saidBack(call.args, names, first);
}

function saidBack(args: unknown, names: readonly string[], { entry, parsed }: PooledEntry): string | null {
  const given = args !== null && typeof args === "object" ? new Map<string, unknown>(Object.entries(args)) : new Map<string, unknown>();
  if (!names.every((name) => given.has(name) && isScalar(given.get(name)))) return null;
  return formatLike(entry.result, parsed, Object.fromEntries(names.map((name) => [name, given.get(name)])));
}

function fieldsOf(parsed: unknown): readonly string[] {
  return parsed !== null && typeof parsed === "object" && !Array.isArray(parsed) ? Object.keys(parsed) : [];
}
