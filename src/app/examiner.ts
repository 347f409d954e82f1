import type { Config } from "../config.ts";
import { createDetector } from "../trajectory/detector.ts";
import { createExaminer, type Examiner } from "../trajectory/examine.ts";
import { keyOf, type RedactionKeys } from "./redaction-keys.ts";
import { readTokenFile } from "./token-file.ts";

/** What examines conversations before they are saved; null where no detector is configured. @throws NightshiftError `config_invalid` for its token file */
export function openExaminer({ redaction: { detector } }: Pick<Config, "redaction">, keys: RedactionKeys): Examiner | null {
  if (detector.driver === "none") return null;
  const token = readTokenFile("redaction.detector.tokenFile", detector.tokenFile);
  return createExaminer({ detector: createDetector(detector, { token }), keyOf: (tenant) => keyOf(keys, tenant) });
}
