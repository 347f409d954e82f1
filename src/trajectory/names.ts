import { hash } from "node:crypto";
import { PSEUDONYM, PSEUDONYM_NUMBER } from "../trace/pseudonym.ts";
import type { Trajectory } from "./trajectory.ts";

/**
 * Translates between a conversation's own numbers (`<email_1>`) and the tenant's pseudonyms (`<email_k3v7qa2p>`). Tapes hold the latter, by which they agree
 * on who is who: number 1 of one conversation is somebody else than number 1 of another.
 */
export interface Names {
  /** The text as tapes hold it. */
  toTape: (text: string) => string;
  /** The text as this conversation's model sees it; somebody new gets a number that depends on the conversation and the pseudonym alone. */
  toConversation: (text: string) => string;
}

/** Numbers of people whom only other conversations know: beyond any that a conversation itself counts to. */
const NEW_FROM = 10_000;
const NEW_TO = 1_000_000;

/** The names of the conversation `id`, by the map that its trajectory or scenario carries. */
export function namesOf(id: string, pseudonyms: Readonly<Record<string, string>>): Names {
  const long = new Map(Object.entries(pseudonyms));
  const short = new Map(Object.entries(pseudonyms).map(([number, name]) => [name, number]));
  const numbers = new RegExp(PSEUDONYM_NUMBER.source, "g");
  const names = new RegExp(PSEUDONYM.source, "g");
  const introduce = (name: string): string => {
    const kind = name.slice(1, name.lastIndexOf("_"));
    let number = `<${kind}_${newNumber(id, name, 0)}>`;
    for (let attempt = 1; long.has(number); attempt += 1) number = `<${kind}_${newNumber(id, name, attempt)}>`;
    long.set(number, name);
    short.set(name, number);
    return number;
  };
  return {
    toTape: (text) => (text.includes("<") ? text.replace(numbers, (number) => long.get(number) ?? number) : text),
    toConversation: (text) => (text.includes("<") ? text.replace(names, (name) => short.get(name) ?? introduce(name)) : text),
  };
}

/**
 * A trajectory's map of numbers to pseudonyms. One that was assembled before the map was kept gets pseudonyms of its own, so that nobody in it is taken for
 * somebody of another conversation.
 */
export function pseudonymsOf(trajectory: Pick<Trajectory, "id" | "messages" | "pseudonyms">): Readonly<Record<string, string>> {
  if (trajectory.pseudonyms !== undefined) return trajectory.pseudonyms;
  const numbers = new Set(JSON.stringify(trajectory.messages).match(new RegExp(PSEUDONYM_NUMBER.source, "g")) ?? []);
  return Object.fromEntries([...numbers].map((number) => [number, ownName(trajectory.id, number)]));
}

/** A copy of JSON-like data with every text in it translated, names of fields too. */
export function translated<T>(value: T, translate: (text: string) => string): T {
  const walk = (node: unknown): unknown => {
    if (typeof node === "string") return translate(node);
    if (Array.isArray(node)) return node.map(walk);
    if (node === null || typeof node !== "object") return node;
    return Object.fromEntries(Object.entries(node).map(([key, item]) => [translate(key), walk(item)]));
  };
  return walk(value) as T;
}

function newNumber(id: string, name: string, attempt: number): number {
  return NEW_FROM + (Number.parseInt(hash("sha256", `name|${id}|${name}|${attempt}`).slice(0, 12), 16) % (NEW_TO - NEW_FROM));
}

function ownName(id: string, number: string): string {
  const letters = [...hash("sha256", `name|${id}|${number}`, "buffer").subarray(0, 8)].map(
    (byte) => "abcdefghijklmnopqrstuvwxyz234567"[byte % 32],
  );
  return `${number.slice(0, number.lastIndexOf("_") + 1)}${letters.join("")}>`;
}
