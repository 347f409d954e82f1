import { join } from "node:path";
import type { Config } from "../config.ts";
import { nightshiftError } from "../errors.ts";
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

/** @throws NightshiftError `tenant_unknown` */
export function keyOf(keys: RedactionKeys, tenant: string): Uint8Array {
  const key = keys.get(tenant);
  if (key === undefined) throw nightshiftError("tenant_unknown", { tenant });
  return key;
}
