import { z } from "zod";
import { parseResult } from "../../trajectory/record-tape.ts";
import { TASK_CHARS, type Task } from "./task.ts";

/** Tasks of a reply and how many of its items were none, or what is wrong with the reply: in words for the model that quote nothing of it. */
export type ReadTasks = { ok: true; value: { tasks: readonly Task[]; unusable: number } } | { ok: false; problem: string };

const replySchema = z.object({ tasks: z.array(z.unknown()).min(1) });
const taskSchema = z.object({
  task: z.string(),
  difficulty: z.int().min(1).max(5),
  tools: z.array(z.string()).min(1),
});

/**
 * A reply's tasks. One that names tools that there are not, is too short or too long, tells of the fence or names a tool to the agent is left out; where less than half are left, the
 * reply is asked for again. Pure.
 */
export function readTasks(reply: string, of: { tools: ReadonlySet<string>; count: number; marker: string }): ReadTasks {
  const parsed = replySchema.safeParse(parseResult(unfenced(reply)));
  if (!parsed.success) return { ok: false, problem: 'it is no JSON object with a list of tasks in the field "tasks"' };
  const items = parsed.data.tasks.slice(0, of.count);
  const problems = items.map((item) => problemOf(item, of));
  const tasks = items.flatMap((item, index) => (problems[index] === null ? [toTask(item)] : []));
  const first = problems.findIndex((problem) => problem !== null);
  if (tasks.length * 2 < items.length) return { ok: false, problem: `of task ${first + 1}, ${problems[first]}` };
  return { ok: true, value: { tasks, unusable: items.length - tasks.length } };
}

function problemOf(item: unknown, { tools, marker }: { tools: ReadonlySet<string>; marker: string }): string | null {
  const parsed = taskSchema.safeParse(item);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const field = issue?.path[0];
    return field === undefined ? "the item is no object" : `the field ${String(field)} is missing or of the wrong type`;
  }
  const text = parsed.data.task.trim();
  if (text.length < TASK_CHARS.min || text.length > TASK_CHARS.max) {
    return `the text has ${text.length} characters, not ${TASK_CHARS.min} to ${TASK_CHARS.max}`;
  }
  if (!parsed.data.tools.every((name) => tools.has(name))) return "a tool is named that is not in the list";
  if (text.includes(marker)) return "the text repeats a marker of the question";
  if (parsed.data.tools.some((name) => /[_.-]/.test(name) && text.includes(name))) return "the text names a tool, which no user would";
  return null;
}

function toTask(item: unknown): Task {
  const { task, difficulty, tools } = taskSchema.parse(item);
  return { text: task.trim().toWellFormed(), difficulty, tools: [...new Set(tools)] };
}

/** Models like to put JSON into a code block. */
function unfenced(text: string): string {
  return /^\s*```(?:json)?\s*\n([\s\S]*?)\n\s*```\s*$/.exec(text)?.[1] ?? text;
}
