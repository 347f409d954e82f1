import { hash } from "node:crypto";

/**
 * A marker that occurs nowhere in `texts`: lines that begin with it are ours, whatever the texts claim, and nothing in them can close the fence. A function of
 * `seed` and the texts, so that the same question has the same bytes.
 */
export function fenceOf(seed: string, texts: readonly string[]): string {
  for (let attempt = 0; ; attempt += 1) {
    const marker = `~${hash("sha256", JSON.stringify([seed, attempt, texts])).slice(0, 10)}`;
    if (!texts.some((text) => text.includes(marker))) return marker;
  }
}

/** The text with its middle cut out where it is longer than `maxChars`, never through a surrogate pair. */
export function shortened(text: string, maxChars: number): string {
  if (text.length <= maxChars) return text;
  const half = Math.floor(maxChars / 2);
  const [head, tail] = [text.slice(0, half).toWellFormed(), text.slice(text.length - half).toWellFormed()];
  return `${head} […${text.length - 2 * half} characters left out…] ${tail}`;
}
