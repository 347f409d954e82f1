import { createHash } from "node:crypto";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { LearningWorld } from "../learning-world.ts";

const ROOT = join(import.meta.dirname, "../../../..");
const SHOP = join(ROOT, "deploy/quickstart/model");

/** The starting policy's directory: where it has to be made first, it is kept in `.cache` under a digest of all that it is made from. */
export async function modelOf(world: LearningWorld, options: { python: string; say: (line: string) => void }): Promise<string> {
  if ("directory" in world.model) return world.model.directory;
  const made = join(ROOT, ".cache/replay-learning", `${world.name}-${digestOf(world)}`);
  if (existsSync(made)) return made;
  options.say(`${world.name}: its starting policy is made once, some minutes on one core`);
  const child = spawn(options.python, [join(import.meta.dirname, "build.py"), "--world", world.name, "--out", made], { stdio: "inherit" });
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`the starting policy of ${world.name} could not be made`);
  return made;
}

/** What its teacher says, and the recipe. */
function digestOf(world: LearningWorld): string {
  const hash = createHash("sha256").update(JSON.stringify([world.systemPrompt, world.tools]));
  if ("lessons" in world.model) {
    for (const noise of ["clean", "noisy"] as const) {
      for (const one of world.model.lessons.conversations(1, 200, noise)) hash.update(JSON.stringify(one));
    }
  }
  const scripts = readdirSync(join(SHOP, "build")).filter((name) => name.endsWith(".py"));
  const files = [
    join(import.meta.dirname, "build.py"),
    ...scripts.map((name) => join(SHOP, "build", name)),
    join(SHOP, "chat_template.jinja"),
  ];
  for (const file of files) hash.update(readFileSync(file));
  return hash.digest("hex").slice(0, 12);
}
