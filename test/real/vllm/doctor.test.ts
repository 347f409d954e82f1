import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { tinyModel } from "../../serving/tiny-server.ts";
import { partDirectory } from "../parts/part.ts";
import { freePort, startPartProcess } from "../parts/process.ts";
import { untilListening, VLLM, vllmPart } from "../parts/vllm.ts";
import { told } from "./told.ts";

const LIMIT_MS = 600_000;
let model: string;
beforeAll(async () => {
  ({ model } = await tinyModel());
}, LIMIT_MS);

test(
  "a server that was started wrongly: every flag that its HTTP betrays is named",
  async () => {
    const venv = join(partDirectory(vllmPart), "venv/bin");
    const port = await freePort();
    const args = [
      "serve",
      model,
      "--host",
      "127.0.0.1",
      "--port",
      `${port}`,
      "--served-model-name",
      "base",
      "--dtype",
      "float32",
      "--enforce-eager",
    ];
    const lora = ["--enable-lora", "--max-lora-rank", "8", "--max-loras", "1", "--max-cpu-loras", "2"];
    const server = await startPartProcess(join(venv, "python"), [...VLLM, ...args, ...lora, "--max-model-len", "256"], {
      env: {
        ...{ PATH: `${venv}:${process.env["PATH"] ?? ""}`, VLLM_CPU_KVCACHE_SPACE: "1", VLLM_NO_USAGE_STATS: "1", HF_HUB_OFFLINE: "1" },
        ...{ OMP_NUM_THREADS: "1", VLLM_CPU_OMP_THREADS_BIND: "nobind", PYTHONDONTWRITEBYTECODE: "" },
      },
      readyLine: /Application startup complete/,
      limitMs: 500_000,
      killsGroup: true,
    });
    try {
      await untilListening(`http://127.0.0.1:${port}`);
      expect(await told(`http://127.0.0.1:${port}`, model)).toEqual([
        "ok shop: URL: vLLM 0.32.0",
        "bad shop: URL: does not load adapters at run time",
        "bad shop: URL: --max-loras 1: stable, candidate, the last known good and tonight's do not fit, so nights will be refused",
        "bad shop: URL: logprobs are raw: temperature does not move them",
        "warn shop: URL: max-cpu-loras, max-lora-rank and the scheduling policy cannot be seen over HTTP",
        "ok shop: URL: clock: agrees with this machine's",
      ]);
    } finally {
      await server.kill();
    }
  },
  LIMIT_MS,
);
