import { isScalar } from "../../trajectory/entities.ts";

/** How many scalar arguments of two calls are equal by name. */
export function equalArguments(one: unknown, other: unknown): number {
  if (one === null || other === null || typeof one !== "object" || typeof other !== "object") return 0;
  const values = new Map(Object.entries(other) as [string, unknown][]);
  return Object.entries(one).filter(([name, value]) => isScalar(value) && values.get(name) === value).length;
}
