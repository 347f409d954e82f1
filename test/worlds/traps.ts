import type { Stage } from "./record.ts";
import { parsed, type World, type WorldCall } from "./world.ts";

/** One trap as a short script: what was recorded, the last conversation being the one that is attempted again, and what the attempt does. */
export interface TrapScript {
  trap: string;
  /** Tells several scripts of one trap apart. */
  how?: string;
  stages: readonly Stage[];
  attempt: readonly WorldCall[];
}

export const call = (tool: string, args: Readonly<Record<string, unknown>>): WorldCall => ({ tool, args });

/** A conversation; `message` may name people. */
export const said = (message: string, ...steps: Stage["steps"]): Stage => ({ message, steps });

/** The first of `ids` whose answer to `tool` fits. */
export function seek(
  world: World,
  tool: string,
  ids: readonly Readonly<Record<string, string>>[],
  fits: (answer: Record<string, unknown>) => boolean,
): { args: Readonly<Record<string, string>>; answer: Record<string, unknown> } {
  for (const args of ids) {
    const answer = parsed(world.clone().call(tool, args));
    if (fits(answer)) return { args, answer };
  }
  throw new Error(`the world has nothing for ${tool}`);
}

/** `prefix` and a number, from `first`, as the only argument. */
export function numbered(name: string, prefix: string, first: number, count: number): readonly Readonly<Record<string, string>>[] {
  return Array.from({ length: count }, (_, index) => ({ [name]: `${prefix}${first + index}` }));
}
