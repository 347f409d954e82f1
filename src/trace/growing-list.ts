interface Parsed {
  text: string;
  items: readonly unknown[];
}

/** Conversations that may take turns in one trace: an agent and its sub-agents, what goes in and what comes out. */
const REMEMBERED = 4;
const MAX_LENGTH = 1024 * 1024;

/** The newest first. */
const recent: Parsed[] = [];

/**
 * Parses a JSON list with `parse`, which says undefined for what is no JSON. Every call of a conversation repeats the messages of the one before and adds to them: of a list that begins
 * like one of the last few only the rest is parsed, and it shares that one's items. So nobody may change an item.
 */
export function parseList(text: string, parse: (text: string) => unknown): unknown {
  const beginning = recent.find((known) => continues(known, text));
  const value = beginning === undefined ? parse(text) : continued(beginning, text, parse);
  if (Array.isArray(value) && value.length > 0 && text.length <= MAX_LENGTH && text.endsWith("]")) remember({ text, items: value });
  return value;
}

/** Whether `text` is the same list, or the same and a comma and more. */
function continues({ text: known }: Parsed, text: string): boolean {
  if (text.length <= known.length) return text === known;
  return text[known.length - 1] === "," && text.startsWith(known.slice(0, -1));
}

function continued({ text: known, items }: Parsed, text: string, parse: (text: string) => unknown): unknown {
  if (text.length === known.length) return items;
  const more = parse(`[${text.slice(known.length)}`);
  // A comma and nothing behind it is no JSON.
  return Array.isArray(more) && more.length > 0 ? [...items, ...(more as unknown[])] : undefined;
}

function remember(parsed: Parsed): void {
  const at = recent.findIndex(({ text }) => parsed.text.length >= text.length && parsed.text.startsWith(text.slice(0, -1)));
  recent.splice(at === -1 ? REMEMBERED - 1 : at, 1);
  recent.unshift(parsed);
}
