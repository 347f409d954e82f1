import { chmodSync, realpathSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { partDirectory } from "../parts/part.ts";
import { VLLM, VLLM_ENVIRONMENT, vllmPart } from "../parts/vllm.ts";
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

/**
 * vLLM on the CPU, under the command of its image, `vllm serve`.
 * @param directory An empty one of the test's, for that command.
 */
export function vllmImage(directory: string): Image {
  const bin = join(partDirectory(vllmPart), "venv/bin");
  const command = join(directory, "vllm");
  writeFileSync(command, `#!/bin/sh\nexec ${join(bin, "python")} ${VLLM.join(" ")} "$@"\n`);
  for (const path of [directory, command]) chmodSync(path, 0o755);
  return {
    entrypoint: ["vllm", "serve"],
    env: { ...VLLM_ENVIRONMENT, HOME: "/tmp", PATH: `${directory}:${bin}:/usr/local/bin:/usr/bin:/bin` },
    user: USER,
    folders: [...repository(), { source: directory, target: directory }],
  };
}
