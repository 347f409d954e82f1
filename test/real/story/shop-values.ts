import { resolve } from "node:path";
import { AGENT, quickstartConfig } from "../../../deploy/quickstart/settings.ts";
import type { Tree } from "./reader.ts";

const ROOT = resolve(import.meta.dirname, "../../..");

/** vLLM's flags on the CPU, as test/real/parts/vllm.ts has them. */
const VLLM_ARGS = [
  ...["--dtype=float32", "--enforce-eager", "--max-model-len=1024", "--max-num-seqs=64"],
  ...["--no-enable-chunked-prefill", "--max-num-batched-tokens=4096", "--enable-auto-tool-choice", "--tool-call-parser=hermes"],
  ...["--lora-target-modules", "qkv_proj", "q_proj", "k_proj", "v_proj", "o_proj", "gate_up_proj", "gate_proj", "up_proj", "down_proj"],
];

/**
 * What the shop writes over the guide's values: its tools, judges and small nights, and a machine of two cores without a GPU. Which telemetry and calls are the
 * agent's, its base model and everything else is the guide's.
 * @param agent Merged over the quickstart's agent.
 */
export function shopValues({ seed, name, agent }: { seed: number; name: string; agent: Tree }): Tree {
  const quickstart = quickstartConfig({ root: ROOT, dataDir: "", seed, sabotage: null });
  const {
    embeddedReplicas: _,
    match: __,
    model: ___,
    baseModel: ____,
    ...shop
  } = (quickstart["agents"] as Record<string, Tree>)[AGENT] ?? {};
  const one = { replicas: 1 };
  return {
    ...{ ingest: one, gateway: one, collector: one },
    vllm: {
      ...{ replicas: 1, maxLoraRank: 8, maxLoras: 64, maxCpuLoras: 64, shmSize: "1Gi", extraArgs: VLLM_ARGS },
      resources: { requests: { cpu: "1", memory: "2Gi" }, limits: { memory: "8Gi" } },
    },
    // Every minute, once it is let go.
    nights: { schedule: "* * * * *", suspend: true },
    config: {
      capture: quickstart["capture"],
      // Two cores for all of it: a connection may wait for its turn.
      store: { driver: "postgres", connectTimeoutMs: 60_000, statementTimeoutMs: 120_000 },
      transport: { sessionTimeoutMs: 6_000 },
      agents: { [name]: { ...shop, ...agent } },
    },
  };
}
