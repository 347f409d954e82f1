import { LRUCache } from "lru-cache";
import type { Assignment } from "../trace/call.ts";
import { drawAssignment, type AssignmentKey, type EffectiveRoute } from "./assignment.ts";

/** Remembers what each key was assigned at its first call. */
export interface AssignmentPins {
  /** The key's pinned assignment, drawn now if this is its first call: then `drawn` hears of it. */
  assign(route: EffectiveRoute, key: AssignmentKey, drawn?: (assignment: Assignment) => void): Assignment;
}

/**
 * A pin lives until its key was idle for `keyIdleMs`, or `maxKeys` others were used since. It outlives its experiment: a conversation that was
 * open when an experiment began stays on stable with probability 0 (or as assigned before), because an arm drawn in the middle of a conversation
 * would mix both models in one unit.
 */
export function createAssignmentPins(config: { maxKeys: number; keyIdleMs: number }, deps: { monotonicMs: () => number }): AssignmentPins {
  const pins = new LRUCache<string, Assignment>({
    max: config.maxKeys,
    ttl: config.keyIdleMs,
    updateAgeOnGet: true,
    // The cache reads its clock once per millisecond at most; 0 makes it read every time, which tests with a fake clock need.
    ttlResolution: 0,
    perf: { now: () => deps.monotonicMs() + 1 },
  });
  return {
    assign(route, key, drawn) {
      const id = `${route.agent}\0${key.key}`;
      const pinned = pins.get(id);
      if (pinned !== undefined) return pinned;
      const assignment = drawAssignment(route, key);
      pins.set(id, assignment);
      drawn?.(assignment);
      return assignment;
    },
  };
}
