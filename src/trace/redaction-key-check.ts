import type { Kysely } from "kysely";
import { nightshiftError } from "../errors.ts";
import { pinSetting } from "../store/pinned-setting.ts";
import type { Tables } from "../store/tables.ts";
import { redactionKeyId } from "./redaction-key.ts";

/**
 * Compares a tenant's key with the one that the database has been filled with; the first process of all decides which that is. Two keys would give one person two
 * pseudonyms: conversations would fall apart, and what is held out for evaluation would be trained on.
 * @throws NightshiftError `redaction_key_differs`
 */
export async function requireSameRedactionKey(db: Kysely<Tables>, tenant: string, key: Uint8Array): Promise<void> {
  const id = redactionKeyId(key);
  const expected = await pinSetting(db, `redaction_key:${tenant}`, id);
  if (id !== expected) throw nightshiftError("redaction_key_differs", { tenant, id, expected });
}
