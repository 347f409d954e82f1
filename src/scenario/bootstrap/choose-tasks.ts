import { clusterItems } from "../cluster.ts";
import { DIFFICULTIES, type Task } from "./task.ts";

/** Why a task that could be used was left out. */
export type TaskLeftOut = "duplicate" | "enough_of_difficulty";

/** How many tasks of each difficulty there are to be: as even as `count` allows, the easier ones first. */
export function spreadOf(count: number): ReadonlyMap<number, number> {
  const each = Math.floor(count / DIFFICULTIES.length);
  return new Map(DIFFICULTIES.map((difficulty, index) => [difficulty, each + (index < count % DIFFICULTIES.length ? 1 : 0)]));
}

/** What is still missing of a spread, of each difficulty. */
export function missingOf(spread: ReadonlyMap<number, number>, tasks: readonly Task[]): ReadonlyMap<number, number> {
  const left = [...spread].map(([difficulty, wanted]): [number, number] => {
    return [difficulty, wanted - tasks.filter((task) => task.difficulty === difficulty).length];
  });
  return new Map(left);
}

/** Of what is missing the first `most`, from every difficulty in turn. */
export function portionOf(missing: ReadonlyMap<number, number>, most: number): ReadonlyMap<number, number> {
  const portion = new Map([...missing.keys()].map((difficulty) => [difficulty, 0]));
  const total = [...missing.values()].reduce((sum, one) => sum + Math.max(0, one), 0);
  for (let taken = 0; taken < Math.min(most, total);) {
    for (const [difficulty, left] of missing) {
      const has = portion.get(difficulty) ?? 0;
      if (taken === most || has >= left) continue;
      portion.set(difficulty, has + 1);
      taken += 1;
    }
  }
  return portion;
}

/**
 * `known` and what `fresh` adds: nothing that asks for the same as a task before it (numbers and ids aside), and no more of a difficulty than the spread has. Known tasks stay. Pure.
 */
export function chooseTasks(
  known: readonly Task[],
  fresh: readonly Task[],
  spread: ReadonlyMap<number, number>,
): { tasks: readonly Task[]; leftOut: Record<TaskLeftOut, number> } {
  const all = [...known, ...fresh];
  const clusters = clusterItems(all.map(({ text }, index) => ({ id: String(index), text, toolsetHash: "" })));
  const seen = new Set(known.map((_, index) => clusters.get(String(index))));
  const leftOut = { duplicate: 0, enough_of_difficulty: 0 };
  const tasks = [...known];
  for (const [index, task] of fresh.entries()) {
    const cluster = clusters.get(String(known.length + index));
    if (seen.has(cluster)) leftOut.duplicate += 1;
    else if ((missingOf(spread, tasks).get(task.difficulty) ?? 0) <= 0) leftOut.enough_of_difficulty += 1;
    else {
      seen.add(cluster);
      tasks.push(task);
    }
  }
  return { tasks, leftOut };
}
