import { z } from "zod";
import { readChatRequest, unsupported, type ReadRequest } from "./chat-request.ts";

const part = z.looseObject({ type: z.string(), text: z.string().optional() });
const texts = z.union([z.string(), z.array(part)]);
const item = z.looseObject({
  type: z.string().nullish(),
  role: z.string().nullish(),
  content: texts.nullish(),
  status: z.string().nullish(),
  call_id: z.string().nullish(),
  name: z.string().nullish(),
  arguments: z.string().nullish(),
  output: texts.nullish(),
});
type Item = z.infer<typeof item>;
const requestSchema = z.looseObject({
  input: z.union([z.string(), z.array(item).min(1)]),
  instructions: z.string().nullish(),
  tools: z.array(z.looseObject({ type: z.string() })).nullish(),
  text: z.looseObject({ format: z.looseObject({ type: z.string() }).nullish() }).nullish(),
  reasoning: z.looseObject({ effort: z.string().nullish() }).nullish(),
});
type Asked = z.infer<typeof requestSchema>;

interface Message {
  role: string;
  content: Item["content"];
  tool_calls?: { id: string; type: "function"; function: { name: string; arguments: string } }[];
  tool_call_id?: string;
}

/** What needs a server that remembers, or that runs tools itself. A rollout is answered from what its request says. */
const STATEFUL = ["previous_response_id", "conversation", "prompt", "background"] as const;

/**
 * Reads the body of `POST /v1/responses` as the chat request that says the same: instructions, input items (messages, function calls and their outputs) and function
 * tools. Token ids and logprobs of function calls come with chat completions only, so a rollout samples there. Items become messages as vLLM makes them, or the policy
 * would read another prompt than in production. Pure.
 */
export function readResponsesRequest(body: unknown): ReadRequest {
  const parsed = requestSchema.safeParse(body);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    return { status: "invalid", message: `${issue?.path.join(".") ?? "body"}: ${issue?.message ?? "invalid"}` };
  }
  const asked = parsed.data;
  const problem = problemOf(asked);
  if (problem !== null) return unsupported(problem);
  const { effort } = asked.reasoning ?? {};
  return readChatRequest({
    model: asked["model"],
    messages: messagesOf(asked),
    tools: (asked.tools ?? []).map(({ type, name, description, parameters }) => ({ type, function: { name, description, parameters } })),
    tool_choice: asked["tool_choice"],
    max_tokens: asked["max_output_tokens"],
    parallel_tool_calls: asked["parallel_tool_calls"],
    stream: asked["stream"],
    logit_bias: asked["logit_bias"],
    repetition_penalty: asked["repetition_penalty"],
    stop: asked["stop"],
    // As vLLM's endpoint hands it to the chat template.
    ...(effort == null ? {} : { chat_template_kwargs: { reasoning_effort: effort } }),
  });
}

function problemOf(asked: Asked): string | null {
  for (const field of STATEFUL) if (asked[field] != null && asked[field] !== false) return field;
  const format = asked.text?.format?.type ?? "text";
  if (format !== "text") return `text.format ${format.slice(0, 40)}`;
  const tool = asked.tools?.find(({ type }) => type !== "function");
  if (tool !== undefined) return `tools of type ${tool.type.slice(0, 40)}`;
  const items = typeof asked.input === "string" ? [] : asked.input;
  const stranger = items.find((one) => !isReadable(one));
  if (stranger !== undefined) return `input items of type ${typeOf(stranger).slice(0, 40)}`;
  const last = items.at(-1);
  const isOpen = last?.role === "assistant" && (last.status === "in_progress" || last.status === "incomplete");
  return isOpen ? "an assistant message to go on with" : null;
}

/** A message may leave its type out. */
function typeOf({ type, role }: Item): string {
  return type ?? (role == null ? "unknown" : "message");
}

function isReadable(one: Item): boolean {
  const type = typeOf(one);
  if (type === "message") return one.role != null;
  if (type === "function_call") return one.call_id != null && one.name != null && one.arguments != null;
  return type === "function_call_output" && one.call_id != null;
}

function messagesOf({ instructions, input }: Asked): Message[] {
  const messages: Message[] = instructions == null || instructions === "" ? [] : [{ role: "system", content: instructions }];
  if (typeof input === "string") return [...messages, { role: "user", content: input }];
  for (const one of input) {
    const before = messages.at(-1);
    const open = before?.role === "assistant" ? before : null;
    if (typeOf(one) === "function_call_output") {
      messages.push({ role: "tool", content: textParts(one.output), ...(one.call_id == null ? {} : { tool_call_id: one.call_id }) });
    } else if (typeOf(one) === "function_call") {
      // The calls of one turn are items of their own: they belong to one message, with what was said before them.
      const call = { id: one.call_id ?? "", type: "function" as const, function: { name: one.name ?? "", arguments: one.arguments ?? "" } };
      if (open === null) messages.push({ role: "assistant", content: null, tool_calls: [call] });
      else open.tool_calls = [...(open.tool_calls ?? []), call];
    } else if (one.role === "assistant" && open !== null && open.content == null) open.content = textParts(one.content);
    else messages.push({ role: one.role ?? "user", content: textParts(one.content) });
  }
  return messages;
}

/** Text parts under their name in chat completions; another part keeps its own, and is told apart there. */
function textParts(content: Item["content"]): Item["content"] {
  if (!Array.isArray(content)) return content;
  return content.map((one) => (one.type === "input_text" || one.type === "output_text" ? { type: "text", text: one.text ?? "" } : one));
}
