import { distinctMembers, type JudgedMember } from "./attempts-text.ts";
import type { Scores } from "./judge.ts";

/** What a judge compares: every attempt once, whoever made it. */
export interface Contest {
  attempts: readonly JudgedMember[];
  /** Per member of the group, which attempt it is; null for a masked one. */
  places: readonly (number | null)[];
  /** Which attempt the anchor is; null without one. */
  anchorPlace: number | null;
}

/**
 * The distinct unmasked members of a group, and its anchor where there is one. An anchor that is what a member did over again is the same attempt, so that both
 * have one score. It makes no contest by itself: nobody learns from it. Pure.
 */
export function contestOf(
  members: readonly JudgedMember[],
  anchor: JudgedMember | null = null,
): Contest | { status: "no_signal"; reason: "too_few_members" | "identical_members" } {
  const own = distinctMembers(members);
  if (own.flat().length < 2) return { status: "no_signal", reason: "too_few_members" };
  if (own.length < 2) return { status: "no_signal", reason: "identical_members" };
  const all = anchor === null ? [...members] : [...members, anchor];
  const classes = distinctMembers(all);
  const placeOf = new Map(classes.flatMap((same, place) => same.map((index) => [index, place] as const)));
  return {
    attempts: classes.flatMap(([first]) => all[first ?? -1] ?? []),
    places: members.map((_, index) => placeOf.get(index) ?? null),
    anchorPlace: anchor === null ? null : (placeOf.get(members.length) ?? null),
  };
}

/** One judging of all attempts of a contest, in their order. */
export interface Pass {
  scores: readonly number[];
  explanations: readonly string[];
}

/** Gives every member what its attempt got. Pure. @param passes at least one */
export function scoresOf({ places, anchorPlace }: Contest, passes: readonly Pass[]): Scores {
  const given = (place: number): number[] => passes.map(({ scores }) => scores[place] ?? Number.NaN);
  const reward = (place: number): number => given(place).reduce((sum, score) => sum + score, 0) / passes.length;
  const spread = (place: number): number | null => (passes.length < 2 ? null : Math.max(...given(place)) - Math.min(...given(place)));
  const explanation = (place: number): string => passes[0]?.explanations[place] ?? "";
  const perMember = <T>(pick: (place: number) => T): (T | null)[] => places.map((place) => (place === null ? null : pick(place)));
  return {
    rewards: perMember(reward),
    spreads: perMember(spread),
    explanations: perMember(explanation),
    anchor:
      anchorPlace === null ? null : { reward: reward(anchorPlace), spread: spread(anchorPlace), explanation: explanation(anchorPlace) },
  };
}
