import { isScalar, type Scalar } from "../entities.ts";

/** Results are untrusted: deeper or more than this is not looked at. */
const MAX_DEPTH = 12;
const MAX_LEAVES = 500;

/**
 * Calls `visit` with every scalar of a parsed value and its dotted path; the elements of a list share one path, with `*` for the index. Fields whose names could not be
 * written in a path are left out. At most 500 scalars.
 */
export function eachLeaf(value: unknown, visit: (path: string, leaf: Scalar) => void): void {
  let left = MAX_LEAVES;
  const walk = (node: unknown, path: string, depth: number): void => {
    if (left <= 0 || depth > MAX_DEPTH) return;
    if (isScalar(node)) {
      left -= 1;
      visit(path, node);
      return;
    }
    if (node === null || typeof node !== "object") return;
    for (const [name, item] of Object.entries(node)) {
      const step = Array.isArray(node) ? "*" : name;
      if (step !== "" && (step === "*" || !/[.*]/.test(step))) walk(item, path === "" ? step : `${path}.${step}`, depth + 1);
    }
  };
  walk(value, "", 0);
}

/** The last name of a path that is no list's `*`. */
export function fieldOf(path: string): string {
  return path.split(".").findLast((step) => step !== "*") ?? path;
}
