import { setTimeout as sleep } from "node:timers/promises";
import { nightshiftError } from "../errors.ts";
import { chooseTasks, missingOf, portionOf, spreadOf, type TaskLeftOut } from "../scenario/bootstrap/choose-tasks.ts";
import { taskQuestion } from "../scenario/bootstrap/task-question.ts";
import type { Task } from "../scenario/bootstrap/task.ts";
import type { TaskTool } from "../scenario/bootstrap/tool-list.ts";
import type { LlmClient } from "../serving/llm.ts";

export interface TaskOrder {
  agent: string;
  tools: readonly TaskTool[];
  systemPrompt: string | undefined;
  instructions: string | undefined;
  count: number;
  seed: number;
  /** Whose token budget it is on; null for a look at what would be made up. */
  runId: string | null;
  signal: AbortSignal;
  progress?: (done: number) => void;
  wait?: (ms: number, signal: AbortSignal) => Promise<void>;
}

export interface WrittenTasks {
  tasks: readonly Task[];
  /** Questions that were asked. */
  asked: number;
  /** Items of replies that were no task. */
  unusable: number;
  leftOut: Record<TaskLeftOut, number>;
}

/** Tasks of one question: a short reply is a better one, and a bad one costs little. */
const PORTION = 8;
/** Questions in a row that bring nothing new: its writer has no more to say. */
const BARREN = 3;
const WAITS = 5;

/**
 * Has tasks made up until there are `count`, evenly spread over the difficulties, no two of them alike. The same order gets the same tasks as long as the LLM's replies are kept: what a
 * look shows is what a run plays. Less than `count` where the writer has no more to say, but at least half.
 * @throws NightshiftError `bootstrap_tasks_unusable`
 */
export async function writeTasks(order: TaskOrder, llm: LlmClient): Promise<WrittenTasks> {
  const { count, signal } = order;
  const spread = spreadOf(count);
  const most = 2 * Math.ceil(count / PORTION) + BARREN;
  const leftOut = { duplicate: 0, enough_of_difficulty: 0 };
  let tasks: readonly Task[] = [];
  let [asked, unusable, barren] = [0, 0, 0];
  let problem = "the LLM has no more to say";
  while (tasks.length < count && asked < most && barren < BARREN) {
    const wanted = portionOf(missingOf(spread, tasks), PORTION);
    const question = taskQuestion({ ...order, wanted, known: tasks, seed: order.seed * 1_000 + asked });
    asked += 1;
    const answer = await askPatiently({ ...question, sources: [], runId: order.runId }, llm, order);
    if (answer.status !== "answered") {
      problem = answer.error.message;
      if (answer.status === "retryable" || answer.error.code !== "judge_reply_invalid") break;
      barren += 1;
      continue;
    }
    const chosen = chooseTasks(tasks, answer.value.tasks, spread);
    barren = chosen.tasks.length > tasks.length ? 0 : barren + 1;
    tasks = chosen.tasks;
    unusable += answer.value.unusable;
    leftOut.duplicate += chosen.leftOut.duplicate;
    leftOut.enough_of_difficulty += chosen.leftOut.enough_of_difficulty;
    order.progress?.(tasks.length);
    signal.throwIfAborted();
  }
  if (tasks.length * 2 >= count) return { tasks, asked, unusable, leftOut };
  throw nightshiftError("bootstrap_tasks_unusable", { agent: order.agent, accepted: tasks.length, wanted: count, problem });
}

type Asked = ReturnType<typeof taskQuestion> & { sources: readonly string[]; runId: string | null };

async function askPatiently(question: Asked, llm: LlmClient, { signal, wait = pause }: TaskOrder) {
  for (let attempt = 1; ; attempt += 1) {
    const answer = await llm.ask(question, { signal });
    if (answer.status !== "retryable" || attempt === WAITS) return answer;
    await wait(answer.retryAfterMs, signal);
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return sleep(ms, undefined, { signal });
}
