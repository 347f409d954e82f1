import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { silentLog } from "../../src/log.ts";
import { createAdapterAgent, type AdapterAgent } from "../../src/serving/adapter-agent.ts";
import type { JobRunner } from "../../src/training/job-runner.ts";

export const UP = { name: "shop-1-aaaaaaaaaaaa", digest: "sha256:a" };

/** The adapter agent of replica `r-1`, on which only `stored` can be brought up. */
export function adapterAgent(state: { isDown: boolean }, stored: { name: string; digest: string }): AdapterAgent {
  return createAdapterAgent(
    { replica: "r-1", intervalMs: 60_000, retryMs: 60_000 },
    {
      policyServer: {
        chat: () => Promise.reject(new Error("not used")),
        promptLogprobs: () => Promise.reject(new Error("not used")),
        models: () => Promise.resolve(state.isDown ? null : []),
        loadAdapter: () => Promise.resolve({ status: "loaded" }),
        unloadAdapter: () => Promise.resolve(),
      },
      fetchAdapter: ({ name }) => Promise.resolve(name === stored.name ? { directory: `/adapters/${name}` } : null),
      verify: () => Promise.resolve({ status: "valid", ...stored }),
      prove: () => Promise.resolve({ status: "active", figures: { probeTokens: 300, slope: 1, t: 40, baseGap: 0.001 } }),
      instance: () => Promise.resolve("boot-1"),
      publish: () => Promise.resolve(),
      ...{ now: () => 0, monotonicMs: () => 0, log: silentLog() },
    },
  );
}

/** A trainer that fails once, then says nothing for four seconds of `clock`, then publishes adapter-1 after `beforeEnd`. */
export function slowTrainer(runDirectory: string, clock: { monotonicMs: number }, beforeEnd: () => Promise<void>): JobRunner {
  let looks = 0;
  return {
    start: () => Promise.resolve(),
    async status() {
      looks += 1;
      if (looks === 1) return { status: "failed", exitCode: 1, retryable: true, detail: "" };
      if (looks === 2) clock.monotonicMs += 4_000;
      if (looks === 3) {
        await beforeEnd();
        publish(join(runDirectory, "adapter-1"));
      }
      return { status: "running" };
    },
    cancel: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
}

function publish(directory: string): void {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "weights"), "w");
  const sha256 = `sha256:${createHash("sha256").update("w").digest("hex")}`;
  writeFileSync(join(directory, "manifest.json"), JSON.stringify({ files: { weights: { sha256, bytes: 1 } } }));
}
