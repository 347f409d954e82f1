import type { ArtifactStore } from "../artifact/artifact-store.ts";
import type { Config } from "../config.ts";
import type { Database } from "../store/database.ts";
import { createDetector } from "../trajectory/detector.ts";
import { createExaminer, type Examiner } from "../trajectory/examine.ts";
import { createMediaKeeper } from "../trajectory/keep-media.ts";
import { storeMedia } from "../trajectory/media-rows.ts";
import type { Preparation } from "../trajectory/prepare.ts";
import { createReferenceFiles } from "../trajectory/reference-files.ts";
import { keyOf, type RedactionKeys } from "./redaction-keys.ts";
import { readTokenFile } from "./token-file.ts";

interface Deps {
  database: Database;
  keys: RedactionKeys;
  artifacts: ArtifactStore;
}

/** What is done with conversations before they are assembled, as the config says. @throws NightshiftError `config_invalid` for the detector's token file */
export function openPreparation(
  config: Pick<Config, "capture" | "redaction" | "tenants">,
  { database, keys, artifacts }: Deps,
): Preparation {
  const { maxMediaBytes, maxReferenceBytes } = config.capture;
  const refers = Object.values(config.tenants).some(({ referencePrefixes }) => referencePrefixes.length > 0);
  const prefixesOf = (tenant: string) => config.tenants[tenant]?.referencePrefixes ?? [];
  return {
    references: refers ? createReferenceFiles({ prefixesOf, keyOf: (tenant) => keyOf(keys, tenant), maxBytes: maxReferenceBytes }) : null,
    media: createMediaKeeper({
      store: (conversation, media) => storeMedia({ database, artifacts }, conversation, media),
      maxBytes: maxMediaBytes,
    }),
    examiner: openExaminer(config, keys),
  };
}

function openExaminer({ redaction: { detector } }: Pick<Config, "redaction">, keys: RedactionKeys): Examiner | null {
  if (detector.driver === "none") return null;
  const token = readTokenFile("redaction.detector.tokenFile", detector.tokenFile);
  return createExaminer({ detector: createDetector(detector, { token }), keyOf: (tenant) => keyOf(keys, tenant) });
}
