import { bootstrap, kendallTauB, mean, ratioOf, repeatVariance, wilson, withinSlope, type Estimate, type Ratio } from "./statistics.ts";

/** What was seen of one label. Every list is in the order of the label's attempts. */
export interface Observation {
  kind: "pair" | "scores";
  /** Higher is better; only the order counts. */
  human: readonly number[];
  /** The rewards that a night would have trained on. */
  rewards: readonly number[];
  /** Single questions, each with the attempts in another order; `slots` says which place each attempt had, from 0. */
  passes: readonly { scores: readonly number[]; slots: readonly number[] }[];
}

/** A share with Wilson's 95 % interval. A label is one unit, however many pairs it holds: those of one label lean on one another. */
export interface Share extends Estimate {
  labels: number;
  pairs: number;
}

export interface JudgeFigures {
  /** Share of the pairs that a person has an opinion on in which the reward has the same; a judge's tie counts ½. */
  agreement: Share | null;
  /** Mean of the labels' Kendall τ-b between scores and rewards, bootstrap over labels. 0 for a label whose attempts the judge all scored alike. */
  kendallTau: (Estimate & { labels: number }) | null;
  /** What the last place adds to a score compared with the first, bootstrap over labels. */
  positionBias: Estimate | null;
  /** Agreement of single questions by whether the preferred attempt was shown before the other or after it. */
  agreementBySlot: { preferredFirst: Share | null; preferredLast: Share | null };
  /** Share of the pairs that two questions about the same label put in the same order. */
  selfAgreement: Share | null;
  /** Standard deviation of one attempt's score from question to question, bootstrap over labels. A group's own must be 1.5 times it. */
  repeatDeviation: Estimate | null;
}

/** All figures of a calibration. Pure; deterministic by seed, which only the bootstrap intervals depend on. */
export function measureJudge(observations: readonly Observation[], seed: number): JudgeFigures {
  const scored = observations.filter(({ kind, human }) => kind === "scores" && new Set(human).size > 1);
  const tau = bootstrap(scored.map(tauOf), (sample) => (sample.length === 0 ? null : mean(sample)), seed);
  // Summed up per label first: thousands of labels are drawn thousands of times.
  const places = observations.map((one) => withinSlope(placesOf(one)));
  const repeats = observations.map((one) => repeatVariance(scoresOf(one)));
  return {
    agreement: shareOf(observations.map(({ human, rewards }) => pairsOf(human).map(([better, worse]) => winOf(rewards, better, worse)))),
    kendallTau: tau === null ? null : { ...tau, labels: scored.length },
    positionBias: bootstrap(places, ratioOf, seed),
    agreementBySlot: {
      preferredFirst: shareOf(observations.map((one) => winsBySlot(one, true))),
      preferredLast: shareOf(observations.map((one) => winsBySlot(one, false))),
    },
    selfAgreement: shareOf(observations.map(sameOrder)),
    repeatDeviation: bootstrap(repeats, rootOf, seed),
  };
}

/** Pairs that a person has an opinion on, the better one first. */
function pairsOf(human: readonly number[]): [number, number][] {
  return human.flatMap((score, index) => human.flatMap((other, at): [number, number][] => (score > other ? [[index, at]] : [])));
}

/** 1 where `better` has the higher score, ½ for a tie. */
function winOf(scores: readonly number[], better: number, worse: number): number {
  return (Math.sign((scores[better] ?? 0) - (scores[worse] ?? 0)) + 1) / 2;
}

function winsBySlot({ human, passes }: Observation, preferredFirst: boolean): number[] {
  return passes.flatMap(({ scores, slots }) =>
    pairsOf(human)
      .filter(([better, worse]) => (slots[better] ?? 0) < (slots[worse] ?? 0) === preferredFirst)
      .map(([better, worse]) => winOf(scores, better, worse)),
  );
}

/** For every pair of attempts and every two questions: 1 for the same order, ½ where one of them is a tie. */
function sameOrder({ human, passes }: Observation): number[] {
  const same: number[] = [];
  for (let first = 0; first < human.length; first += 1) {
    for (let second = 0; second < first; second += 1) {
      const wins = passes.map(({ scores }) => winOf(scores, first, second));
      for (const [index, win] of wins.entries()) for (const other of wins.slice(index + 1)) same.push(1 - Math.abs(win - other));
    }
  }
  return same;
}

function rootOf(parts: readonly Ratio[]): number | null {
  const variance = ratioOf(parts);
  return variance === null ? null : Math.sqrt(variance);
}

function tauOf({ human, rewards }: Observation): number {
  return kendallTauB(human, rewards) ?? 0;
}

/** Each attempt's scores by where it stood: 0 the first place, 1 the last. */
function placesOf({ human, passes }: Observation): { x: number; y: number }[][] {
  return human.map((_, attempt) =>
    passes.map(({ scores, slots }) => ({ x: (slots[attempt] ?? 0) / (human.length - 1), y: scores[attempt] ?? 0 })),
  );
}

function scoresOf({ human, passes }: Observation): number[][] {
  return human.map((_, attempt) => passes.map(({ scores }) => scores[attempt] ?? 0));
}

/** @param perLabel What each label's pairs came to; labels without one do not count. */
function shareOf(perLabel: readonly (readonly number[])[]): Share | null {
  const given = perLabel.filter((pairs) => pairs.length > 0);
  if (given.length === 0) return null;
  const pairs = given.reduce((sum, one) => sum + one.length, 0);
  return { ...wilson(mean(given.map(mean)), given.length), labels: given.length, pairs };
}
