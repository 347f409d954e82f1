import { createRenumbering } from "../../src/trajectory/assembly/pseudonyms.ts";
import { pseudonym } from "../../src/trace/pseudonym.ts";
import { ADDRESS } from "./people.ts";

/**
 * What the agent of one replay calls the world's things. Its conversation calls people by pseudonyms of its own, and an answer that was made up gives
 * another id than the world does; both are right as long as one name stands for one thing. Immutable.
 */
export interface Names {
  toTrue: ReadonlyMap<string, string>;
  toServed: ReadonlyMap<string, string>;
  /** Equal for equal names. */
  key: string;
}

const key = new TextEncoder().encode("the key of a tenant of test worlds");
const NAME = /<[a-z]+_\d+>|[a-z]+\.\d+@example\.com|\b[A-Z]\d+~?/g;

/** Takes addresses out of a conversation as capture and assembly do, and says who is called what. */
export function redacted<T>(messages: T): { messages: T; pseudonyms: Readonly<Record<string, string>>; names: Names } {
  const long = (text: string): string => text.replace(ADDRESS, (address) => pseudonym("email", address, key));
  const found = [...new Set(JSON.stringify(messages).match(ADDRESS) ?? [])];
  const renumber = createRenumbering();
  const shown = renumber(mapTexts(messages, long));
  const labels = found.map((address): [string, string] => [renumber(long(address)).value, address]);
  return { messages: shown.value, pseudonyms: shown.pseudonyms, names: namesOf(labels) };
}

/** One more pair. A thing that goes by another name than its own leaves its own name to nothing. */
export function named(names: Names, served: string, truth: string): Names {
  const hidden: [string, string][] = served === truth || names.toTrue.has(truth) ? [] : [[truth, `${truth}~`]];
  return namesOf([...names.toTrue, ...hidden, [served, truth]]);
}

/** A call's arguments as the world knows them. */
export function inTheWorld(names: Names, args: unknown): unknown {
  return names.toTrue.size === 0 ? args : mapTexts(args, (text) => text.replace(NAME, (name) => names.toTrue.get(name) ?? name));
}

/** The world's answer as the agent would read it. */
export function asServed(names: Names, text: string): string {
  return names.toServed.size === 0 ? text : text.replace(NAME, (name) => names.toServed.get(name) ?? name);
}

/** A text and the names that tell of its people: those that had none yet get new ones. */
export function introduced(names: Names, text: string): { text: string; names: Names } {
  let known = names;
  for (const address of new Set(text.match(ADDRESS) ?? [])) {
    if (!known.toServed.has(address)) known = named(known, `<email_${known.toTrue.size + 1_000}>`, address);
  }
  return { text: asServed(known, text), names: known };
}

function namesOf(pairs: readonly (readonly [string, string])[]): Names {
  const toTrue = new Map(pairs);
  const sorted = [...toTrue].sort(([one], [other]) => (one < other ? -1 : 1));
  return { toTrue, toServed: new Map(pairs.map(([served, truth]) => [truth, served])), key: JSON.stringify(sorted) };
}

export function mapTexts<T>(value: T, map: (text: string) => string): T;
export function mapTexts(value: unknown, map: (text: string) => string): unknown {
  if (typeof value === "string") return map(value);
  if (Array.isArray(value)) return value.map((item: unknown) => mapTexts(item, map));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, mapTexts(item as unknown, map)]));
}
