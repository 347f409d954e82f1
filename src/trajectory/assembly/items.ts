import { hash } from "node:crypto";
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
  // Most messages are one text, which is looked up as it is: a key made of it would be a copy.
  const texts = new Map<string, Map<string, Item[]>>();
  const others = new Map<string, Item[]>();
  return (messages) => messages.flatMap((message) => remembered(message, texts, others));
}

function remembered(message: Message, texts: Map<string, Map<string, Item[]>>, others: Map<string, Item[]>): Item[] {
  const [part] = message.parts;
  const text = message.parts.length === 1 && part?.type === "text" ? part["content"] : undefined;
  if (typeof text !== "string") return lookUp(others, JSON.stringify(message), message);
  let ofRole = texts.get(message.role);
  if (ofRole === undefined) texts.set(message.role, (ofRole = new Map()));
  return lookUp(ofRole, text, message);
}

function lookUp(known: Map<string, Item[]>, key: string, message: Message): Item[] {
  let items = known.get(key);
  if (items === undefined) known.set(key, (items = itemsOf(message)));
  return items;
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
  let after = known.get(before);
  if (after === undefined) known.set(before, (after = hash("sha256", `${before}\n${item.by}\n${item.key}`, "base64url")));
  return after;
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
