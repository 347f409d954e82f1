import { withEras } from "../era.ts";
import { tapeOf } from "../record-tape.ts";
import type { ToolFact, ToolProfile, ToolProfiles } from "../tool-profile.ts";
import type { Trajectory } from "../trajectory.ts";
import { repeatsApart } from "./demote.ts";

/**
 * What the tapes say of reads that would depend on their learned entities alone, by tool: how often such a read was repeated with writes to other
 * entities in between, and how often its answer had changed. Never gone by, for it cannot be shown; an operator who knows declares `entityPaths`.
 */
export function scopeEvidence(profiles: ToolProfiles, trajectories: readonly Trajectory[]): ReadonlyMap<string, ToolFact> {
  const isOpen = ({ scope, facts }: ToolProfile): boolean =>
    scope === "everything" && facts.some(({ about, from }) => about === "entityPaths" && from === "learned");
  const narrowed: ToolProfiles = new Map(
    [...profiles].map(([tool, profile]) => [tool, isOpen(profile) ? { ...profile, scope: "entities" } : profile]),
  );
  const tapes = withEras(trajectories.map((trajectory) => tapeOf(trajectory, { profiles: narrowed, split: "train" })));
  return new Map(
    [...repeatsApart(narrowed, tapes)]
      .filter(([tool]) => narrowed.get(tool)?.scope !== profiles.get(tool)?.scope)
      .map(([tool, { pairs, changed }]): [string, ToolFact] => {
        const note =
          changed > 0 ? "its answer changed by writes to other entities" : "declare entityPaths if its answers depend on nothing else";
        const fact = { about: "scope", value: "entities", from: "learned", used: false } as const;
        return [tool, { ...fact, for: pairs - changed, against: changed, note }];
      }),
  );
}
