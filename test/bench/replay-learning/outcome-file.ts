import { appendFileSync, existsSync, readFileSync } from "node:fs";

/** What was measured of one adapter: success of every customer, in order. */
export interface Measured {
  world: string;
  /** Identity of the starting policy and of what decides a night. */
  settings: string;
  /** Of the day; 0 for the starting policy. */
  seed: number;
  arm: string;
  outcomes: readonly boolean[];
}

/** Measurements of a run that takes hours, so that one that was cut off goes on. */
export interface OutcomeFile {
  find(of: Omit<Measured, "outcomes">): readonly boolean[] | null;
  keep(measured: Measured): void;
}

/** JSON lines in `file`; with null, nothing is kept. */
export function openOutcomes(file: string | null): OutcomeFile {
  const known = new Map<string, readonly boolean[]>();
  const keyOf = ({ world, settings, seed, arm }: Omit<Measured, "outcomes">): string => JSON.stringify([world, settings, seed, arm]);
  if (file !== null && existsSync(file)) {
    for (const line of readFileSync(file, "utf8").split("\n").filter(Boolean)) {
      const { outcomes, ...of } = JSON.parse(line) as Omit<Measured, "outcomes"> & { outcomes: string };
      known.set(
        keyOf(of),
        Array.from(outcomes, (one) => one === "1"),
      );
    }
  }
  return {
    find: (of) => known.get(keyOf(of)) ?? null,
    keep(measured) {
      known.set(keyOf(measured), measured.outcomes);
      if (file !== null) appendFileSync(file, `${JSON.stringify({ ...measured, outcomes: measured.outcomes.map(Number).join("") })}\n`);
    },
  };
}
