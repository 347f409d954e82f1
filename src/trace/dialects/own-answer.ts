import { isDeepStrictEqual } from "node:util";
import { isToolCall, type Message, textOf, type ToolCallPart } from "../message.ts";

/**
 * A request's messages without what was said after it. LangSmith writes the list down when a run is sent, not when it starts: an agent that appends to one list may have
 * its own answer, and what came later, in it by then. The answer is known by its calls, of which at least one has its id. By names and arguments alone, or by its text,
 * only where the list ends with an answer, as no request does.
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
  const pairs = said.map((call, index) => [call, answered[index] as ToolCallPart] as const);
  const isNamed = pairs.some(([one, other]) => one.id !== undefined && one.id === other.id);
  return (isNamed || isLater) && pairs.every(([one, other]) => isSameCall(one, other));
}

function isSameCall(one: ToolCallPart, other: ToolCallPart): boolean {
  if (one.id !== undefined && other.id !== undefined && one.id !== other.id) return false;
  return one.name === other.name && isDeepStrictEqual(one.arguments, other.arguments);
}
