import { isToolCall, type Message, textOf, type ToolCallPart } from "../message.ts";
import { isDeepStrictEqual } from "node:util";

/**
 * A request's messages without what was said after it. LangSmith writes the list down when a run is sent, not when it starts: an agent that appends to one list has its
 * own answer and everything later in it by then. The answer is known by its call ids. By names and arguments, or by its text, only where the list ends with an answer,
 * as no request does.
 * @returns nothing where the list ends with an answer and this one is not in it: then it is another call's history
 */
export function beforeOwnAnswer(messages: readonly Message[], output: readonly Message[]): readonly Message[] {
  const [answer] = output;
  if (answer === undefined) return messages;
  const isLater = messages.at(-1)?.role === "assistant";
  const own = messages.findLastIndex((message) => message.role === "assistant" && isSame(message, answer, isLater));
  if (own !== -1) return messages.slice(0, own);
  return isLater ? [] : messages;
}

function isSame(message: Message, answer: Message, isLater: boolean): boolean {
  const said = message.parts.filter(isToolCall);
  const answered = answer.parts.filter(isToolCall);
  if (said.length !== answered.length) return false;
  if (said.length === 0) return isLater && textOf(message) === textOf(answer);
  return said.every((call, index) => isSameCall(call, answered[index] as ToolCallPart, isLater));
}

function isSameCall(call: ToolCallPart, answered: ToolCallPart, isLater: boolean): boolean {
  if (call.id !== undefined && answered.id !== undefined && call.id !== answered.id) return false;
  if (!isLater && (call.id === undefined || answered.id === undefined)) return false;
  return call.name === answered.name && isDeepStrictEqual(call.arguments, answered.arguments);
}
