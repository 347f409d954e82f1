import { existsSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { runTool } from "./part.ts";

/** Of all parts that are compiled, so that each finds what the others needed too; thrown away when they are done: gigabytes that nothing else would use. */
const CACHE = resolve(import.meta.dirname, "../../../.cache/go");

/** Runs Go below its caches; what it installs goes to `bin`. Other work on the machine comes first: the compiler takes all cores for minutes. */
export function runGo(args: readonly string[], options: { cwd: string; bin: string; problem: string; fix: string }): Promise<string> {
  return runTool("nice", ["-n", "10", "go", ...args], { ...options, env: goEnvironment(options.bin) });
}

/** For tools that run Go themselves. */
export function goEnvironment(bin: string): Record<string, string> {
  return {
    GOBIN: bin,
    GOMODCACHE: join(CACHE, "modules"),
    GOCACHE: join(CACHE, "build"),
    // Without C and without paths of this machine, so that no part compiles the standard library anew.
    CGO_ENABLED: "0",
    GOFLAGS: "-modcacherw -trimpath",
  };
}

export function removeGoCache(): void {
  if (existsSync(CACHE)) rmSync(CACHE, { recursive: true, force: true });
}
