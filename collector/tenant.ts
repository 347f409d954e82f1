import { createTokenMatcher } from "../src/bearer-token.ts";
import type { Config } from "../src/config.ts";
import { nightshiftError } from "../src/errors.ts";

/** Answers the tenant that a request's `authorization` header stands for, or null. The payload never names a tenant. */
export type TenantOf = (authorization: string | undefined) => string | null;

const LOOPBACK = new Set(["127.0.0.1", "::1", "localhost"]);

/**
 * Tenants by bearer token. Without any token configured, everybody on loopback is the only tenant that there is.
 * @throws NightshiftError `collector_open` when anybody on the network could write, `config_invalid` where nobody could tell several tenants apart
 */
export function createTenantOf(config: Config): TenantOf {
  const known = Object.entries(config.tenants).flatMap(([tenant, { collectorTokenHashes }]) =>
    collectorTokenHashes.map((hash) => ({ hash, value: tenant })),
  );
  if (known.length > 0) return createTokenMatcher(known);
  if (!LOOPBACK.has(config.collector.host)) throw nightshiftError("collector_open", { host: config.collector.host });
  const [only, ...others] = Object.keys(config.tenants);
  if (others.length > 0) {
    const problem = `there are several tenants (${[only, ...others].join(", ")}): telemetry says by its token whose it is`;
    throw nightshiftError("config_invalid", { path: "tenants.*.collectorTokenHashes", received: "nothing", problem });
  }
  return () => only ?? null;
}
