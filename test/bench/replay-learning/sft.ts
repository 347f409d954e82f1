import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { AgentConfig } from "../../../src/config.ts";
import { toChatMessages, toChatTools } from "../../../src/rollout/chat-messages.ts";
import type { RecordedVisit } from "./traffic.ts";

/**
 * The control that needs no replay: the night's adapter shape, taught the day's successful conversations as they are, in as many optimiser steps over as many
 * conversations as the night has rollouts. Which ones succeeded it knows from the true environment. Resolves to the adapter's directory.
 */
export async function learnSuccesses(
  day: readonly RecordedVisit[],
  options: { config: AgentConfig; python: string; directory: string; name: string; learningRate: number },
): Promise<string> {
  const { config, name } = options;
  const { iterations, minibatches, scenarios, groupSize, lora, seed } = config.night;
  const at = join(options.directory, "sft", name);
  mkdirSync(at, { recursive: true });
  const lines = day
    .filter(({ success }) => success)
    .map(({ trajectory: { messages, tools } }) => JSON.stringify({ messages: toChatMessages(messages), tools: toChatTools(tools ?? []) }));
  writeFileSync(join(at, "examples.jsonl"), `${lines.join("\n")}\n`);
  const order = {
    ...{ base: config.baseModel, examples: join(at, "examples.jsonl"), out: join(at, "adapter") },
    ...{ steps: iterations * minibatches, per_step: (scenarios * groupSize) / minibatches },
    ...{ lr: options.learningRate, rank: lora.rank, alpha: lora.alpha, seed },
  };
  writeFileSync(join(at, "order.json"), JSON.stringify(order));
  const child = spawn(options.python, [join(import.meta.dirname, "sft.py"), join(at, "order.json")], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`the successes of ${name} could not be learned`);
  return order.out;
}
