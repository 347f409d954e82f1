import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { runTool } from "../real/parts/part.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const CACHE = join(ROOT, ".cache/bench");
export const FIX = "check the network, then run the command again";

/** The folder in the cache that `fetch` filled; an interrupted one left no marker and starts again from nothing. */
export async function fetched(name: string, fetch: (dir: string) => Promise<void>): Promise<string> {
  const dir = join(CACHE, name);
  const marker = join(dir, ".complete");
  if (existsSync(marker)) return dir;
  process.stderr.write(`fetching ${name}\n`);
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true });
  await fetch(dir);
  writeFileSync(marker, "");
  return dir;
}

/** The binaries of a Python environment of its own that holds this package and what it needs, wheels alone, nothing newer than the day. */
export async function pythonPackage(what: { name: string; version: string; extras?: string; day: string }): Promise<string> {
  const { name, version, extras = "", day } = what;
  const dir = await fetched(`${name}-${version}`, async (dir) => {
    const uv = join(ROOT, ".cache/uv/bin/uv");
    const python = join(dir, "venv/bin/python");
    await runTool(uv, ["venv", "--python", join(ROOT, ".venv/bin/python"), join(dir, "venv")], {
      problem: `no Python environment for ${name}`,
      fix: FIX,
    });
    const wanted = ["--only-binary", ":all:", "--exclude-newer", day, `${name}${extras}==${version}`];
    await runTool(uv, ["pip", "install", "--quiet", "--python", python, ...wanted], { problem: `${name} cannot be installed`, fix: FIX });
  });
  return join(dir, "venv/bin");
}
