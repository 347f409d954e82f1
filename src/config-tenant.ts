import { z } from "zod";
import { tokensSchema } from "./config-api.ts";

/** The part of the config tree that belongs to one tenant. */
const days = (standard: number, what: string) => z.int().min(1).max(36_500).default(standard).describe(what);

const retentionSchema = z
  .strictObject({
    capturedDays: days(
      90,
      "Days that what was captured is kept after its last span: spans, log events, conversations, trajectories, tapes, feedback, and the objects that carried large spans.",
    ),
    nightsDays: days(
      30,
      "Days that what a night made is kept after its end: scenarios, groups with their rollouts, judges' replies, steps, its run directory, and copies of adapters in dataDir/artifact-cache. Adapters and their lineage stay.",
    ),
  })
  .prefault({})
  .describe("How long a tenant's data is kept. What an unfinished run or a live canary needs stays longer.");

export const tenantSchema = z.strictObject({
  trainingConsent: z
    .enum(["allow", "deny"])
    .default("allow")
    .describe("Consent for training where a conversation carries no `nightshift.consent`."),
  collectorTokenHashes: z
    .array(z.string().regex(/^[0-9a-f]{64}$/))
    .default([])
    .describe("SHA-256 (hex) of the bearer tokens that name this tenant to the collector; two are valid at once for rotation."),
  apiTokens: tokensSchema.describe(
    "SHA-256 (hex) of bearer tokens of the API that reach this tenant alone, by role. What belongs to others does not exist for them; `api.tokens` reach every tenant.",
  ),
  collectorTokenFile: z
    .string()
    .optional()
    .describe(
      "File with this tenant's collector token, for what gateways capture of its agents' calls. Unset: gateway.collectorTokenFile, where there is one tenant.",
    ),
  referencePrefixes: z
    .array(z.string().regex(/^file:\/\/\/./, "a directory as file:///path; other stores are not read yet"))
    .default([])
    .describe("Directories (`file:///…`) below which `gen_ai.…_ref` attributes of this tenant's telemetry are read; nothing else is."),
  redactionKeyFile: z
    .string()
    .optional()
    .describe("File with the key of this tenant's pseudonyms. Unset: made once and kept in dataDir/keys."),
  retention: retentionSchema,
});
