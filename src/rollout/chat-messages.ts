import { isToolCall, isToolCallResponse, textOf, type Message, type Part } from "../trace/message.ts";
import { parseResult, resultText, type ToolShape } from "../trajectory/record-tape.ts";
import type { ChatMessage, ChatTool } from "../serving/policy-server.ts";

/** Canonical messages as a chat request carries them; a message with several tool answers becomes several messages. */
export function toChatMessages(messages: readonly Message[]): readonly ChatMessage[] {
  return messages.flatMap(toChatMessage);
}

/** Tool definitions as a chat request carries them. */
export function toChatTools(tools: readonly ToolShape[]): readonly ChatTool[] {
  return tools.map(({ name, description, parameters }) => ({
    type: "function",
    function: { name, ...(description === undefined ? {} : { description }), ...(parameters === undefined ? {} : { parameters }) },
  }));
}

/** A chat message in canonical form. Arguments are parsed where they are JSON; a tool's answer keeps its text. */
export function fromChatMessage(message: ChatMessage): Message {
  if (message.role === "tool") {
    const id = message.tool_call_id === undefined ? {} : { id: message.tool_call_id };
    return { role: "tool", parts: [{ type: "tool_call_response", ...id, response: message.content ?? "" }] };
  }
  const text: Part[] = message.content === null ? [] : [{ type: "text", content: message.content }];
  const calls: Part[] = (message.tool_calls ?? []).map((call) => ({
    type: "tool_call",
    id: call.id,
    name: call.function.name,
    arguments: parseResult(call.function.arguments),
  }));
  return { role: message.role, parts: [...text, ...calls] };
}

/** The message with ids that say turn and place: servers draw random ones, and the same seed must give the same bytes. */
export function withStableIds(message: ChatMessage, turn: number): ChatMessage {
  if (message.tool_calls === undefined) return message;
  return { ...message, tool_calls: message.tool_calls.map((call, index) => ({ ...call, id: `call_${turn}_${index}` })) };
}

function toChatMessage(message: Message): readonly ChatMessage[] {
  const answers = message.parts.filter(isToolCallResponse);
  const own = toOwnMessage(message);
  const tools = answers.map((part): ChatMessage => ({
    role: "tool",
    content: resultText(part.response),
    ...(part.id === undefined ? {} : { tool_call_id: part.id }),
  }));
  return answers.length > 0 && !message.parts.some((part) => part.type === "text") ? tools : [...tools, own];
}

function toOwnMessage(message: Message): ChatMessage {
  const calls = message.parts.filter(isToolCall).map((part, index) => ({
    id: part.id ?? `call_${index}`,
    type: "function" as const,
    function: { name: part.name, arguments: typeof part.arguments === "string" ? part.arguments : JSON.stringify(part.arguments ?? {}) },
  }));
  const hasText = message.parts.some((part) => part.type === "text");
  return {
    role: roleOf(message.role),
    content: hasText || calls.length === 0 ? textOf(message) : null,
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
  };
}

/** Newer SDKs say `developer` where the template knows `system`; any other stranger speaks as the user. */
function roleOf(role: string): ChatMessage["role"] {
  if (role === "system" || role === "developer") return "system";
  return role === "assistant" || role === "tool" ? role : "user";
}
