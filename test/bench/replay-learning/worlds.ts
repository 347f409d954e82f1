import { bookings } from "./bookings/world.ts";
import type { LearningWorld } from "./learning-world.ts";
import { shop } from "./shop.ts";
import { tickets } from "./tickets/world.ts";

/** The worlds of the comparison, by name. */
export const worlds: Readonly<Record<string, LearningWorld>> = { shop, bookings, tickets };

/** @throws RangeError for a name that no world has */
export function worldNamed(name: string): LearningWorld {
  const world = worlds[name];
  if (world === undefined) throw new RangeError(`there is no world ${name}; there are ${Object.keys(worlds).join(", ")}`);
  return world;
}
