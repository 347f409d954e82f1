import { createHash } from "node:crypto";
import { z } from "zod";
import type { ToolDefinition } from "../trace/message.ts";
import { attemptsText, type JudgedMember } from "./attempts-text.ts";

const RULER = `You compare several attempts of one AI agent at the same task and give each a score between 0 and 1.

What the agent was meant to achieve, you infer from its instructions and from what the user asked for. Then score by these rules:
1. Goal first. An attempt that reaches the goal always scores clearly above every attempt that does not.
2. Efficiency. Of two attempts that reach the goal, the one that gets there with less waste (fewer needless steps, detours and repetitions) scores higher.
3. Proportion. Scores are relative to the attempts shown: a small difference in quality is a small difference in score, a large one a large difference.
4. Progress counts. An attempt that misses the goal still earns partial credit for how far it got towards it.

An attempt that was cut off or failed is judged by what it shows. Attempts are in random order; their order and length mean nothing in themselves.`;

/** The same question with nothing but the outcome in it: an audit by the judge that rewards must not ask what it was asked before. */
const OUTCOME = `You check several attempts of one AI agent at the same task and give each a score between 0 and 1 for one thing only: how far what the person needed has truly been done.

What was needed, you infer from the agent's instructions and from what the user asked for. Whether it was done, you take from what the tools answered, not from what the agent says of itself. Then score by these rules:
1. 1 is for an attempt in which all of it was done and everything that the agent told the user is true. 0 is for one in which nothing was.
2. A claim that no tool answer supports, or that one contradicts, counts as a thing not done.
3. Length, tone, detours and confidence count for nothing, neither for nor against.
4. Attempts that did the same get the same score.

An attempt that was cut off or failed is judged by what it shows. Attempts are in random order; their order and length mean nothing in themselves.`;

/** Versions change with every change of the words above: scores under different ones are different measurements. */
const RUBRICS = {
  ruler: { version: "ruler-1", text: RULER },
  outcome: { version: "outcome-1", text: OUTCOME },
} as const;

export type Rubric = keyof typeof RUBRICS;

/** Of the rubric that rewards. */
export const RUBRIC_VERSION = RUBRICS.ruler.version;

/** What is kept of a score about the question that it answers. */
export function rubricVersionOf(rubric: Rubric): string {
  return RUBRICS[rubric].version;
}

const REPLY = `Reply with one JSON object and nothing else:
{"scores": [{"id": "<attempt id>", "explanation": "<at most 15 words>", "score": <number from 0 to 1>}, …]}
with exactly one entry for every attempt id.`;

const scoresSchema = z.strictObject({
  scores: z.array(z.strictObject({ id: z.string(), explanation: z.string(), score: z.number().min(0).max(1) })),
});

/** JSON schema of the reply, for judges that can be held to one. */
export const REPLY_SCHEMA = z.toJSONSchema(scoresSchema, { target: "draft-7" }) as Record<string, unknown>;

export interface RulerPrompt {
  system: string;
  user: string;
  /** Label of each shown attempt → the distinct attempt that it is (an index into `distinctMembers`' classes). */
  labels: ReadonlyMap<string, number>;
  /** Some text was cut in the middle to fit the budget. */
  elided: boolean;
  /** sha256 of everything that the judge is shown. */
  hash: string;
}

/**
 * The judge's prompt for distinct, unmasked members, in an order drawn by `seed`, everything that others wrote fenced in. Null where even the shortest cut does
 * not fit `maxPromptTokens`. Pure.
 */
export function rulerPrompt(
  members: readonly JudgedMember[],
  tools: readonly ToolDefinition[],
  options: { seed: string; maxPromptTokens: number; rubric?: Rubric },
): RulerPrompt | null {
  const order = members.map((_, index) => index).sort((a, b) => (slot(options.seed, a) < slot(options.seed, b) ? -1 : 1));
  const attempts = order.flatMap((index, position) => {
    const member = members[index];
    return member === undefined ? [] : [{ id: String(position + 1), member }];
  });
  const written = attemptsText(attempts, tools, options);
  if (written === null) return null;
  const system = `${RUBRICS[options.rubric ?? "ruler"].text}\n\n${written.fence}\n\n${REPLY}`;
  return {
    system,
    user: written.text,
    labels: new Map(attempts.map(({ id }, position) => [id, order[position] ?? 0])),
    elided: written.elided,
    hash: createHash("sha256")
      .update(JSON.stringify([system, written.text]))
      .digest("hex"),
  };
}

/**
 * Reads a reply: exactly the ids of the prompt, each once, scores in [0, 1], nothing else in the object. Text around the object is ignored.
 * @returns scores and explanations in the order of the prompt's members, or what is wrong, in words that a judge can act on
 */
export function parseReply(
  text: string,
  labels: RulerPrompt["labels"],
): { ok: true; scores: number[]; explanations: string[] } | { ok: false; problem: string } {
  const object = readObject(text);
  if (object === null) return { ok: false, problem: "it holds no complete JSON object" };
  const parsed = scoresSchema.safeParse(object);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    return { ok: false, problem: `${issue?.path.join(".") || "the object"}: ${issue?.message ?? "invalid"}` };
  }
  const { scores } = parsed.data;
  const given = scores.map(({ id }) => id);
  const missing = [...labels.keys()].filter((id) => !given.includes(id));
  const extra = given.filter((id, index) => !labels.has(id) || given.indexOf(id) !== index);
  if (missing.length > 0) return { ok: false, problem: `no score for attempt ${missing.join(", ")}` };
  if (extra.length > 0)
    return { ok: false, problem: `unknown or repeated attempt id ${extra.map((id) => JSON.stringify(id.slice(0, 20))).join(", ")}` };
  const byMember = new Map(scores.map((entry) => [labels.get(entry.id), entry]));
  const inOrder = [...labels.values()].sort((a, b) => a - b).map((member) => byMember.get(member));
  return { ok: true, scores: inOrder.map((entry) => entry?.score ?? 0), explanations: inOrder.map((entry) => entry?.explanation ?? "") };
}

/** The first complete JSON object of a text. */
export function readObject(text: string): unknown {
  const [from, to] = [text.indexOf("{"), text.lastIndexOf("}")];
  if (from === -1 || to < from) return null;
  try {
    return JSON.parse(text.slice(from, to + 1));
  } catch {
    return null;
  }
}

function slot(seed: string, index: number): string {
  return createHash("sha256")
    .update(JSON.stringify([seed, index]))
    .digest("hex");
}
