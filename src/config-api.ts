import { z } from "zod";

/** What a token of the API is for. Collectors' tokens are a tenant's (`tenants.*.collectorTokenHashes`), and so may those of the API be (`tenants.*.apiTokens`). */
export const ROLES = ["operator", "viewer", "gateway", "agent", "ingest"] as const;
export type Role = (typeof ROLES)[number];

const hashes = (what: string) =>
  z
    .array(z.string().regex(/^[0-9a-f]{64}$/, "a SHA-256 in hex, as `nightshift token` prints it"))
    .max(2)
    .default([])
    .describe(what);

/** SHA-256 (hex) of the tokens of each role. */
export const tokensSchema = z
  .strictObject({
    operator: hashes("Starts runs, acts on experiments, reads everything."),
    viewer: hashes("Reads everything, transcripts included; changes nothing."),
    gateway: hashes("Gateways: routes, and what disturbed their traffic."),
    agent: hashes("Adapter agents: which adapters are wanted, and what became of them."),
    ingest: hashes("Whoever reports feedback."),
  })
  .prefault({})
  .describe(
    "SHA-256 (hex) of the API's bearer tokens by role, two at once for rotation; `nightshift token` makes them. None at all: open, and only allowed on loopback.",
  );
