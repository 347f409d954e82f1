import { dirname, join, resolve } from "node:path";
import { realpathSync } from "node:fs";
import { partDirectory } from "../parts/part.ts";
import { vllmPart } from "../parts/vllm.ts";
import type { Image } from "./container.ts";

const ROOT = resolve(import.meta.dirname, "../../..");
const PYTHON = join(ROOT, ".venv/bin/python");
/** The user of all images of deploy/Dockerfile. */
const USER = 2000;

/** Folders that may be file systems of their own, so that the machine's root has only an empty one of the name. */
const repository = (): { source: string; target: string }[] =>
  [...new Set([ROOT, realpathSync(join(ROOT, "node_modules")), realpathSync(join(ROOT, ".venv"))])].map((path) => ({
    source: path,
    target: path,
  }));

/** The targets of deploy/Dockerfile and vLLM, by name, as commands on this working copy. */
export function productImages(): Record<string, Image> {
  const node: Image = {
    entrypoint: [process.execPath, "--disable-warning=ExperimentalWarning", join(ROOT, "src/cli/main.ts")],
    args: ["--help"],
    env: { NODE_ENV: "production", PATH: `${dirname(process.execPath)}:/usr/local/bin:/usr/bin:/bin` },
    workingDir: ROOT,
    user: USER,
    folders: repository(),
  };
  const trainer: Image = {
    entrypoint: [PYTHON, "-m", "nightshift_trainer"],
    args: ["--help"],
    env: {
      HF_HUB_OFFLINE: "1",
      HOME: "/tmp",
      PYTHONUNBUFFERED: "1",
      OMP_NUM_THREADS: "1",
      PATH: `${dirname(PYTHON)}:/usr/local/bin:/usr/bin:/bin`,
    },
    workingDir: join(ROOT, "trainer"),
    user: USER,
    folders: repository(),
  };
  return { nightshift: node, "nightshift-serve": { ...node, env: { ...trainer.env, ...node.env } }, "nightshift-trainer": trainer };
}

/** vLLM on the CPU, under the command of its image. */
export function vllmImage(environment: Readonly<Record<string, string>>): Image {
  const bin = join(partDirectory(vllmPart), "venv/bin");
  return {
    entrypoint: [join(bin, "vllm"), "serve"],
    env: { ...environment, HF_HUB_OFFLINE: "1", HOME: "/tmp", PATH: `${bin}:/usr/local/bin:/usr/bin:/bin` },
    user: USER,
    folders: repository(),
  };
}
