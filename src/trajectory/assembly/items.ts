import { createHash } from "node:crypto";
import { isToolCall, isToolCallResponse, type Message, type Part } from "../../trace/message.ts";
import { canonicalJson } from "../canonical-arguments.ts";

/** One comparable piece of a transcript: a run of text, one tool call, one tool result. */
export interface Item {
  by: "system" | "user" | "assistant" | "tool";
  key: string;
  /** Of a tool call and of a result only, and no part of what is compared: the id that ties the two, null where none was recorded. */
  callId?: string | null;
}

export type ItemReader = (messages: readonly Message[]) => Item[];

/**
 * Makes a reader of transcripts as items, with a memory of what it has read: every call repeats the messages of the one before.
 *
 * Two recordings of one transcript differ in what carries no meaning: call ids, whitespace at the ends, arguments as text or object, reasoning that
 * is stripped from history, several results in one message or one in each. Items leave all that out.
 */
export function createItemReader(): ItemReader {
  const known = new Map<string, Item[]>();
  return (messages) =>
    messages.flatMap((message) => {
      const key = keyOf(message);
      let items = known.get(key);
      if (items === undefined) known.set(key, (items = itemsOf(message)));
      return items;
    });
}

/** Equal for equal messages. Most are one text, which is its own key: writing it as JSON costs more than all else here. */
function keyOf(message: Message): string {
  const [part] = message.parts;
  const isOneText = message.parts.length === 1 && part?.type === "text" && typeof part["content"] === "string";
  return isOneText ? `text ${message.role.length} ${message.role} ${part["content"] as string}` : `json ${JSON.stringify(message)}`;
}

/** What follows what, by item: a reader gives the same item for the same message, and every call repeats the calls before it. */
const following = new WeakMap<Item, Map<string, string>>();

/** `prefixes[n]` identifies the first n items: two transcripts agree on n items exactly when these are equal. */
export function prefixHashes(items: readonly Item[]): string[] {
  const hashes = [""];
  for (const item of items) hashes.push(hashAfter(hashes.at(-1) ?? "", item));
  return hashes;
}

function hashAfter(before: string, item: Item): string {
  const known = following.get(item) ?? new Map<string, string>();
  following.set(item, known);
  let hash = known.get(before);
  if (hash === undefined) known.set(before, (hash = createHash("sha256").update(`${before}\n${item.by}\n${item.key}`).digest("base64url")));
  return hash;
}

function itemsOf(message: Message): Item[] {
  const items: Item[] = [];
  let text = "";
  const by = authorOf(message.role);
  const endText = () => {
    if (text.trim() !== "") items.push({ by, key: `text ${canonicalJson(text)}` });
    text = "";
  };
  for (const part of message.parts) {
    if (part.type === "text" && typeof part["content"] === "string") {
      text += part["content"];
      continue;
    }
    endText();
    const item = partItem(part, by);
    if (item !== null) items.push(item);
  }
  endText();
  return items;
}

function partItem(part: Part, by: Item["by"]): Item | null {
  if (part.type === "reasoning") return null;
  if (isToolCall(part)) return { by: "assistant", key: `call ${part.name} ${argumentsKey(part.arguments)}`, callId: part.id ?? null };
  if (isToolCallResponse(part)) return { by: "tool", key: `result ${argumentsKey(part.response)}`, callId: part.id ?? null };
  return { by, key: canonicalJson(part) };
}

/** Canonical JSON of a value that may have been recorded as text or parsed. */
export function argumentsKey(value: unknown): string {
  if (typeof value !== "string") return canonicalJson(value);
  try {
    return canonicalJson(JSON.parse(value));
  } catch {
    return canonicalJson(value);
  }
}

export function authorOf(role: string): Item["by"] {
  if (role === "system" || role === "developer") return "system";
  if (role === "assistant" || role === "model") return "assistant";
  return role === "tool" || role === "function" ? "tool" : "user";
}
