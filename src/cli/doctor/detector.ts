import type { Config } from "../../config.ts";
import { NightshiftError } from "../../errors.ts";
import { readTokenFile } from "../../app/token-file.ts";
import { createDetector } from "../../trajectory/detector.ts";
import { bad, ok, type Finding } from "./finding.ts";

const CHECK = "detector of personal data";
/** Nobody's: it only has to come back with offsets that lie inside it. */
const SAMPLE = "Nightshift asks whether you answer. \u{1F319}";

/** Does the detector examine a text in the configured language. Nothing where none is configured. */
export async function checkDetector({ redaction: { detector } }: Pick<Config, "redaction">): Promise<Finding[]> {
  if (detector.driver === "none") return [];
  try {
    const token = readTokenFile("redaction.detector.tokenFile", detector.tokenFile);
    await createDetector(detector, { token }).find(SAMPLE);
    return [ok(CHECK, `${detector.url} examines texts in ${detector.language}`)];
  } catch (error) {
    if (error instanceof NightshiftError) return [bad(CHECK, error.message, error.fix)];
    throw error;
  }
}
