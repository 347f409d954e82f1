import { hash } from "node:crypto";

type SeedPart = string | number;

/** A number in [0, 1) that depends on the parts and nothing else. */
export function seededUnit(...parts: readonly SeedPart[]): number {
  return Number.parseInt(digestOf(parts).slice(0, 13), 16) / 2 ** 52;
}

/** A 31-bit integer that depends on the parts and nothing else: what samplers take as seed. */
export function seededInteger(...parts: readonly SeedPart[]): number {
  return Number.parseInt(digestOf(parts).slice(0, 8), 16) >>> 1;
}

/** An identity made of its parts. */
export function seededId(...parts: readonly SeedPart[]): string {
  return digestOf(parts).slice(0, 32);
}

/** Whether `seededLike` draws at all: not for a date, a time, or a text without a digit. */
export function isDrawn(example: string | number): boolean {
  const text = String(example);
  return /\d/.test(text) && !/^\d{4}-\d{2}-\d{2}/.test(text);
}

/**
 * A value shaped like `example` with other digits and letters: a fixed prefix before the first digit stays (`BK-1042` → `BK-7310`), as do dates,
 * booleans and texts without a digit.
 */
export function seededLike(example: string | number, ...parts: readonly SeedPart[]): string | number {
  if (!isDrawn(example)) return example;
  const text = String(example);
  const firstDigit = text.search(/\d/);
  const drawn = text.slice(firstDigit).replace(/[0-9a-fA-F]/g, (character, index: number) => {
    const unit = seededUnit(...parts, index);
    if (/\d/.test(character)) return index === 0 ? String(1 + Math.floor(unit * 9)) : String(Math.floor(unit * 10));
    return (/[a-f]/.test(character) ? "abcdef" : "ABCDEF")[Math.floor(unit * 6)] ?? character;
  });
  const shaped = text.slice(0, firstDigit) + drawn;
  return typeof example === "number" ? Number(shaped) : shaped;
}

function digestOf(parts: readonly SeedPart[]): string {
  return hash("sha256", JSON.stringify(parts));
}
