import { statSync } from "node:fs";
import type { Config } from "../../config.ts";
import { NightshiftError } from "../../errors.ts";
import { readRedactionKey, redactionKeyId } from "../../trace/redaction-key.ts";
import { bad, ok, warn, type Finding } from "./finding.ts";

const OTHERS_MAY = 0o007;

/** The key of every tenant's pseudonyms. Collectors and ingest must have one and the same; its id, not the key, is shown for comparison. */
export function checkRedaction(config: Pick<Config, "tenants" | "transport" | "collector">): Finding[] {
  const off = config.collector.redact
    ? []
    : [warn("redaction", "off in this collector: text waits for ingest unredacted, in Kafka too", "Set collector.redact: true.")];
  return [...off, ...Object.entries(config.tenants).map(([tenant, { redactionKeyFile }]) => checkKey(tenant, redactionKeyFile, config))];
}

function checkKey(tenant: string, file: string | undefined, { transport }: Pick<Config, "transport">): Finding {
  const check = `redaction key of ${tenant}`;
  if (file === undefined) {
    if (transport.driver === "inline") return ok(check, "made at the first start, kept below dataDir/keys");
    const told = "not configured: every process makes one of its own, and ingest puts aside what a collector with another one sent";
    return warn(check, told, `Put 32 random bytes into a file that all processes have, and set tenants.${tenant}.redactionKeyFile.`);
  }
  try {
    const id = redactionKeyId(readRedactionKey(file));
    if ((statSync(file).mode & OTHERS_MAY) === 0) return ok(check, `${file}, id ${id}`);
    return warn(check, `${file}, id ${id}: other users of this machine may read it`, `chmod 600 ${file}`);
  } catch (error) {
    if (!(error instanceof NightshiftError)) throw error;
    return bad(check, error.message, error.fix);
  }
}
