import { execFile, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { stringify } from "yaml";
import type { S3Config } from "../../../src/config-artifacts.ts";
import { ROOT_KEY } from "../parts/s3.ts";
import { environmentOf } from "./world.ts";

const ROOT = resolve(import.meta.dirname, "../../..");
const PYTHON = join(ROOT, ".venv/bin/python");
const TRAINER = join(ROOT, "trainer");
const ONE_THREAD = { OMP_NUM_THREADS: "1" };

/**
 * A base model of 25 thousand parameters, and run directories `whole` and `control` that are alike but for batch-2, which only `whole` has yet; and `whole` is
 * trained, undisturbed.
 */
const SCRIPT = `
import json, shutil, sys
from pathlib import Path
from tests.run_files import run_json, sampled_groups, tiny_model, write_batch
from tests.trainer_process import train
home = Path(sys.argv[1])
model = tiny_model()
model.save_pretrained(home / "base")
run = run_json(home / "base") | {"iterations": 2, "minibatches_per_batch": 3, "checkpoint_every_steps": 2, "heartbeat_interval_s": 0.2}
run["logprob_gate"] = {"max_mean_abs_delta": 1}
run["lora"]["dropout"] = 0.1
run["optimizer"]["lr"] = 0.002
for name in ("whole", "control"):
    (home / name).mkdir()
    (home / name / "run.json").write_text(json.dumps(run))
    write_batch(home / name, 1, sampled_groups(model, lambda ids: sum(i < 32 for i in ids) / len(ids), groups=4, seed=1))
write_batch(home / "whole", 2, sampled_groups(model, lambda ids: sum(i < 32 for i in ids) / len(ids), groups=4, seed=2))
sys.exit(train(home / "whole"))
`;

export async function makeRunDirectories(home: string): Promise<void> {
  await promisify(execFile)(PYTHON, ["-c", SCRIPT, home], { cwd: TRAINER, env: { ...process.env, ...ONE_THREAD } });
}

/** What a test that was killed leaves running ends with it. */
const WITH_US = ["--pdeathsig", "KILL"];

/** The real trainer on a run directory. */
export function startTrainer(runDirectory: string): ChildProcess {
  return spawn("setpriv", [...WITH_US, PYTHON, "-m", "nightshift_trainer", "train", runDirectory], {
    cwd: TRAINER,
    env: { ...process.env, ...ONE_THREAD },
    stdio: "ignore",
  });
}

/** `nightshift artifact-sync` as a process; resolves when the directory is ready. */
export async function startSync(config: S3Config, runDirectory: string, options: readonly string[]): Promise<ChildProcess> {
  const file = `${runDirectory}.yaml`;
  await writeFile(file, stringify({ artifacts: config, logLevel: "error" }));
  const args = ["artifact-sync", runDirectory, "--config", file, "--json", "--interval-ms", "50", ...options];
  const child = spawn("setpriv", [...WITH_US, process.execPath, join(ROOT, "src/cli/main.ts"), ...args], {
    env: { ...process.env, ...environmentOf(ROOT_KEY) },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(child, "exit").then(([code]) => new Error(`artifact-sync ended early with exit code ${String(code)}`));
  const first = await Promise.race([once(createInterface({ input: child.stdout }), "line"), ended]);
  if (first instanceof Error) throw first;
  return child;
}

/** kill -9, and gone. */
export async function killNow(...children: ChildProcess[]): Promise<void> {
  for (const child of children) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
  }
}

/** SIGTERM; the exit code. */
export async function stop(child: ChildProcess): Promise<number | null> {
  const gone = once(child, "exit");
  child.kill("SIGTERM");
  return ((await gone) as [number | null])[0];
}
