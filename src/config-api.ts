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

/** `api.host` for every address of the machine. */
export const EVERY_ADDRESS = "*";

/**
 * What a listener of the API binds to. Of every address it names none: Node then takes those of both families, or of the one that there is, where `::` fails on a kernel
 * without IPv6 and `0.0.0.0` is deaf to a cluster that has nothing else.
 */
export function bindingOf({ host, port }: { host: string; port: number }): { hostname?: string; port: number } {
  return host === EVERY_ADDRESS ? { port } : { hostname: host, port };
}

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
