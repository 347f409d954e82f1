import { z } from "zod";
import { nightshiftError } from "../../errors.ts";

/** Bounds of one file of labels. */
export const MAX_LABEL_BYTES = 16 * 1024 * 1024;
export const MAX_LABELS = 2_000;
const MAX_TRANSCRIPTS = 16;

const id = z.string().min(1).max(200);
const chatMessage = z.strictObject({
  role: z.enum(["system", "user", "assistant", "tool"]),
  content: z.string().nullable(),
  tool_calls: z
    .array(
      z.strictObject({
        id: z.string().max(200),
        type: z.literal("function"),
        function: z.strictObject({ name: z.string().max(200), arguments: z.string() }),
      }),
    )
    .optional(),
  tool_call_id: z.string().max(200).optional(),
});

/** One attempt: a stored trajectory, a member of a stored group, or the messages themselves in the form of a chat completion's request. */
const transcriptSchema = z.discriminatedUnion("from", [
  z.strictObject({ from: z.literal("trajectory"), id }),
  z.strictObject({ from: z.literal("rollout"), group: id, member: z.int().min(0).max(1_000) }),
  z.strictObject({ from: z.literal("messages"), messages: z.array(chatMessage).min(1).max(1_000) }),
]);

const tools = z
  .array(z.strictObject({ name: id, description: z.string().optional(), parameters: z.record(z.string(), z.unknown()).optional() }))
  .max(200)
  .optional();

/** One line of a file of labels: two attempts at one task and which of them a person prefers, or several with a person's scores, of which only the order counts. */
export const labelSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("pair"), a: transcriptSchema, b: transcriptSchema, preferred: z.enum(["a", "b", "tie"]), tools }),
  z.strictObject({
    kind: z.literal("scores"),
    attempts: z
      .array(z.strictObject({ transcript: transcriptSchema, score: z.number() }))
      .min(2)
      .max(MAX_TRANSCRIPTS),
    tools,
  }),
]);

export type LabelTranscript = z.infer<typeof transcriptSchema>;
export type Label = z.infer<typeof labelSchema>;
/** A label with its line in the file, counted from 1. */
export type LabelLine = { line: number; label: Label };

/**
 * The labels of a JSON Lines file; empty lines are passed over. Pure.
 * @throws NightshiftError `labels_invalid` with the line, the field and what stood there
 */
export function parseLabels(file: string, text: string): LabelLine[] {
  const lines = text.split("\n").flatMap((line, index) => (line.trim() === "" ? [] : [{ line: index + 1, text: line }]));
  if (lines.length === 0) throw invalid(file, 1, "(line)", "the file holds no label", "nothing");
  const beyond = lines[MAX_LABELS];
  if (beyond !== undefined) throw invalid(file, beyond.line, "(line)", `more than ${MAX_LABELS} labels`, `${lines.length} labels`);
  return lines.map(({ line, text: json }) => ({ line, label: parseLine(file, line, json) }));
}

function parseLine(file: string, line: number, json: string): Label {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw invalid(file, line, "(line)", `not JSON: ${(cause as Error).message.slice(0, 100)}`, json);
  }
  const parsed = labelSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const path = issue?.path ?? [];
  throw invalid(file, line, path.join(".") || "(line)", issue?.message ?? "invalid", JSON.stringify(valueAt(value, path)) ?? "nothing");
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (found, key) => (typeof found === "object" && found !== null ? (found as Record<PropertyKey, unknown>)[key] : undefined),
    value,
  );
}

function invalid(file: string, line: number, field: string, problem: string, received: string): Error {
  return nightshiftError("labels_invalid", { file, line, field, problem, received: received.slice(0, 80) });
}
