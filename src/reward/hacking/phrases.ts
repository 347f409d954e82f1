import { hash } from "node:crypto";

/** Words of one phrase. */
const WORDS = 3;
/** Of a longer text only the start is read: what is said "all the time" is said there too. */
const MAX_CHARS = 20_000;

/**
 * The phrases of three words in a text, lower case, by a hash that names each: rewards are examined without anybody's words being kept. Words as Unicode has them, for scripts without spaces too.
 */
export function phrasesOf(text: string): Map<string, string> {
  const words = [...new Intl.Segmenter("und", { granularity: "word" }).segment(text.slice(0, MAX_CHARS).toLowerCase())].flatMap(
    ({ segment, isWordLike }) => (isWordLike === true ? [segment] : []),
  );
  const phrases = new Map<string, string>();
  for (let start = 0; start + WORDS <= words.length; start += 1) {
    const phrase = words.slice(start, start + WORDS).join(" ");
    phrases.set(hash("sha256", phrase).slice(0, 16), phrase);
  }
  return phrases;
}
