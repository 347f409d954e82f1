import { parseResult } from "../../trajectory/record-tape.ts";
import type { ChatMessage } from "../../serving/policy-server.ts";
import type { ToolBlock } from "./tool-block.ts";

/** One transcript of an agent: what its newest request read, and what the model answered. */
export interface Branch {
  messages: readonly ChatMessage[];
  /** The tool calls of that answer; null without. */
  block: ToolBlock | null;
}

/** The longest branch whose messages `messages` begin with: the one that this request goes on. Null where it begins another. */
export function extendedBranch(branches: readonly Branch[], messages: readonly ChatMessage[]): Branch | null {
  const keys = messages.map(keyOf);
  const extended = branches.filter(
    (branch) => branch.messages.length <= keys.length && branch.messages.every((one, at) => keyOf(one) === keys[at]),
  );
  return extended.reduce<Branch | null>(
    (longest, one) => (longest === null || one.messages.length >= longest.messages.length ? one : longest),
    null,
  );
}

/** Frameworks write an answer back with other spaces in its arguments, and an empty text for none. */
function keyOf({ role, content, tool_calls: calls = [], tool_call_id: id }: ChatMessage): string {
  return JSON.stringify([
    role,
    content ?? "",
    calls.map((call) => [call.id, call.function.name, parseResult(call.function.arguments)]),
    id ?? null,
  ]);
}
