import { hash } from "node:crypto";
import { toolsetHashOf } from "../../trajectory/record-tape.ts";
import type { Scenario } from "../scenario.ts";
import { splitOf } from "../split.ts";
import type { Task } from "./task.ts";
import type { TaskTool } from "./tool-list.ts";

/**
 * A made-up task as a situation to play: nobody said it and nothing was recorded. Its id, and with it the side of the wall that it is on, is a function of task, tools, prompt and
 * agent: the same task in another run is the same scenario. Pure.
 */
export function scenarioOfTask(
  task: Task,
  of: {
    tenant: string;
    agent: string;
    tools: readonly TaskTool[];
    systemPrompt: string | undefined;
    heldOutShare: number;
    /** The agent's own limit of model calls. */
    maxCalls: number;
    nowMs: number;
  },
): Scenario {
  const { tenant, agent, tools, systemPrompt } = of;
  const id = hash("sha256", JSON.stringify(["bootstrap", tenant, agent, toolsetHashOf(tools), systemPrompt ?? null, task.text])).slice(
    0,
    32,
  );
  const own = `task:${id}`;
  return {
    id,
    tenant,
    agent,
    origin: "bootstrap",
    task: { difficulty: task.difficulty, tools: [...task.tools] },
    trajectoryId: own,
    trajectoryVersion: 1,
    conversationId: own,
    subject: own,
    cluster: id,
    start: {
      messages: [
        ...(systemPrompt === undefined ? [] : [{ role: "system", parts: [{ type: "text" as const, content: systemPrompt }] }]),
        { role: "user", parts: [{ type: "text", content: task.text }] },
      ],
      userTurns: [],
      tools: [...tools],
      clockMs: of.nowMs,
    },
    tapes: [],
    mode: "loop",
    modeReason: "live",
    split: splitOf(own, { salt: tenant, heldOutShare: of.heldOutShare }),
    recordedAtMs: of.nowMs,
    // Nothing was recorded: the agent's own limit is the only one.
    recordedCalls: of.maxCalls,
  };
}
