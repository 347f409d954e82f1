import { randomBytes } from "node:crypto";
import { join } from "node:path";
import type { Config } from "../config.ts";
import { NightshiftError, nightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Database } from "../store/database.ts";
import { requireSameRedactionKey } from "../trace/redaction-key-check.ts";
import { ensureRedactionKey, readRedactionKey } from "../trace/redaction-key.ts";

/** By tenant. */
export type RedactionKeys = ReadonlyMap<string, Uint8Array>;

/** The keys of all tenants: from the files that the config names, else made once and kept below dataDir. @throws NightshiftError `redaction_key_invalid` */
export function loadRedactionKeys({ tenants, dataDir }: Pick<Config, "tenants" | "dataDir">): RedactionKeys {
  return new Map(
    Object.entries(tenants).map(([tenant, { redactionKeyFile }]) => [
      tenant,
      redactionKeyFile === undefined
        ? ensureRedactionKey(join(dataDir, "keys", `redaction-${tenant}.key`))
        : readRedactionKey(redactionKeyFile),
    ]),
  );
}

/** As the API has it (`ApiDeps.redactionKey`). */
export type KnownRedactionKey = (tenant: string) => { key: Uint8Array; isShared: boolean };

/**
 * The keys of all tenants as far as this process may read them and the store was filled with them. Makes none: the first key pins itself, and that is ingest's. A
 * tenant without one gets a passing key.
 */
export async function findRedactionKeys(
  { tenants, dataDir }: Pick<Config, "tenants" | "dataDir">,
  { database, log }: { database: Database; log: Logger },
): Promise<KnownRedactionKey> {
  const found = new Map<string, Uint8Array>();
  for (const [tenant, { redactionKeyFile }] of Object.entries(tenants)) {
    try {
      const key = readRedactionKey(redactionKeyFile ?? join(dataDir, "keys", `redaction-${tenant}.key`));
      await requireSameRedactionKey(database.kysely, tenant, key);
      found.set(tenant, key);
    } catch (error) {
      if (!(error instanceof NightshiftError) || error.retryable) throw error;
      log.warn({ tenant, code: error.code }, "redaction key of the tenant is not here: customers are known by their pseudonyms only");
    }
  }
  const passing = randomBytes(32);
  return (tenant) => ({ key: found.get(tenant) ?? passing, isShared: found.has(tenant) });
}

/** @throws NightshiftError `tenant_unknown` */
export function keyOf(keys: RedactionKeys, tenant: string): Uint8Array {
  const key = keys.get(tenant);
  if (key === undefined) throw nightshiftError("tenant_unknown", { tenant });
  return key;
}
