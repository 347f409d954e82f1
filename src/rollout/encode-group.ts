import type { TrajectoryGroup } from "./group.ts";

/**
 * The group's JSON with its keys in order: the same group gives the same bytes on every machine. Not RFC 8785's library, which throws on the lone
 * surrogates that a model may sample and a tool may answer; they travel escaped.
 */
export function encodeGroup(group: TrajectoryGroup): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(group, inKeyOrder));
}

/** The group that `encodeGroup` wrote. The bytes come from the artifact store, which has checked their digest. */
export function decodeGroup(bytes: Uint8Array): TrajectoryGroup {
  return JSON.parse(new TextDecoder().decode(bytes)) as TrajectoryGroup;
}

function inKeyOrder(_: string, value: unknown): unknown {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
