import { isToolCall, isToolCallResponse, type Message, type Part, type ToolCallPart, type ToolDefinition } from "../trace/message.ts";

/** One thing that was said or done. `head` is ours, `body` is somebody else's text. */
export interface Piece {
  head: string;
  body: string;
  /** A tool result, which several members may have received alike. */
  isResult: boolean;
}

/** The pieces of one message. */
export type Block = readonly Piece[];

/**
 * A transcript as a judge is to see it: roles, text, calls and results, without ids (calls are numbered in order instead), JSON scaffolding, logprobs or any
 * other field. Two transcripts whose blocks are equal are the same attempt, whatever ids their tool calls were given.
 */
export function renderTranscript(messages: readonly Message[]): Block[] {
  const numbers = new Map<string, number>();
  const unanswered: number[] = [];
  let calls = 0;
  const numberCall = (call: ToolCallPart): number => {
    calls += 1;
    if (call.id !== undefined) numbers.set(call.id, calls);
    unanswered.push(calls);
    return calls;
  };
  // Without an id, results come in the order of the calls.
  const numberResult = (id: string | undefined): number | undefined => {
    const number = (id === undefined ? undefined : numbers.get(id)) ?? unanswered[0];
    if (number !== undefined && unanswered.includes(number)) unanswered.splice(unanswered.indexOf(number), 1);
    return number;
  };
  return messages.map((message) =>
    spoken(message).map((part): Piece => {
      if (isToolCall(part))
        return { head: `call #${numberCall(part)}`, body: `${part.name}(${renderArguments(part.arguments)})`, isResult: false };
      if (isToolCallResponse(part)) {
        return { head: `result #${numberResult(part.id) ?? "?"}`, body: asText(part.response), isResult: true };
      }
      return { head: headOf(message, part), body: textOfPart(part), isResult: false };
    }),
  );
}

/**
 * Length of the start that all transcripts share, in messages. Every transcript keeps at least its last message, so that one which is a strict prefix of the
 * others still shows how it ended.
 */
export function sharedPrefixLength(transcripts: readonly (readonly Block[])[]): number {
  const shortest = Math.min(...transcripts.map((blocks) => blocks.length));
  const keys = transcripts.map((blocks) => blocks.map((block) => JSON.stringify(block)));
  let length = 0;
  while (length < shortest - 1 && keys.every((blocks) => blocks[length] === keys[0]?.[length])) length += 1;
  return length;
}

export function renderTools(tools: readonly ToolDefinition[]): string {
  return tools
    .map(({ name, description, parameters }) => {
      const schema = parameters === undefined ? "" : ` ${JSON.stringify(parameters["properties"] ?? parameters)}`;
      return `${name}: ${description ?? "no description"}${schema}`;
    })
    .join("\n");
}

/** Some servers send empty text along with a call, others send none: the same turn. */
function spoken({ parts }: Message): readonly Part[] {
  const said = parts.filter((part) => part.type !== "text" || part["content"] !== "");
  return said.length === 0 ? parts : said;
}

function headOf(message: Message, part: Part): string {
  const { role } = message;
  const known = role === "system" || role === "user" || role === "assistant" || role === "tool" ? role : "other";
  return part.type === "reasoning" ? `${known} thinks` : known;
}

function textOfPart(part: Part): string {
  if ((part.type === "text" || part.type === "reasoning") && typeof part["content"] === "string") return part["content"];
  // Images, files and whatever comes next: that it was there is all that can be said of it here.
  return `[${part.type.slice(0, 40)}]`;
}

function renderArguments(value: unknown): string {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value === undefined ? "" : asText(value);
  return Object.entries(value)
    .map(([name, argument]) => `${name}=${JSON.stringify(argument)}`)
    .join(", ");
}

function asText(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "");
}
