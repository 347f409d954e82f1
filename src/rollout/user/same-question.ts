/** Share of the words of two questions, fillers left out, from which on they ask for the same. */
const SAME = 0.5;

/** Words that ask without saying for what. */
const FILLERS = new Set(
  `a able also an and any anything are as assist assistance be by can check could did do does else for from further get give go had happy has have hello help here hi how i
  if in is it just know let like may me more my need now of ok okay on or please provide question questions share should so some something sorry sure tell thank
  thanks that the their them then there these they this to us want was we what when where which who will with would you your yours`.split(
    /\s+/,
  ),
);

/**
 * Whether what an agent says asks a user for what the recorded agent asked before the user's recorded turn: the questions share at least half of their telling
 * words (ids and numbers count as one word), or neither asks for anything. A closing "anything else?" asks for nothing. Two statements are not compared: a user
 * who was not asked went on of their own accord. English fillers; in other languages fewer questions are found alike, never more.
 */
export function asksTheSame(recorded: string, said: string): boolean {
  const [before, now] = [tellingWords(recorded), tellingWords(said)];
  if (before.size === 0 || now.size === 0) return before.size === now.size;
  const shared = [...before].filter((word) => now.has(word)).length;
  return shared / (before.size + now.size - shared) >= SAME;
}

/** Words of the sentences that ask: those with a question mark, and polite orders. */
function tellingWords(text: string): ReadonlySet<string> {
  const sentences = text.slice(-4_000).match(/[^.!?？؟\n]+[.!?？؟]*/g) ?? [];
  const asking = sentences.filter((sentence) => /[?？؟]/.test(sentence) || /^\s*(?:please|kindly)\b|\blet me know\b/i.test(sentence));
  const words = asking.flatMap((sentence) => wordsOf(sentence));
  return new Set(words.filter((word) => !FILLERS.has(word)));
}

function wordsOf(sentence: string): readonly string[] {
  const masked = sentence
    .normalize("NFC")
    .toLowerCase()
    .replace(/[\p{L}_-]*\d[\p{L}\d_-]*/gu, "#")
    .replace(/['’](?:s|re|ll|ve|d|m)\b/gu, "");
  return masked.match(/[\p{L}#]+/gu)?.map((word) => (word.length > 3 ? word.replace(/s$/, "") : word)) ?? [];
}
