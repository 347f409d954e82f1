import { sql } from "kysely";
import type { ArtifactStore, Digest } from "../artifact/artifact-store.ts";
import { nightshiftError } from "../errors.ts";
import type { Database } from "../store/database.ts";
import { eraseAlone } from "../store/erased-sources.ts";

/** Everybody waits meanwhile. Whoever asks comes again. */
const LIMIT_MS = 3_000;

/**
 * Deletes objects that no row names, or that only rows of what is gone name. Equal bytes are one object, so somebody may have come to need it since it was found to be unneeded: nobody
 * can while it is looked up and deleted. Repeating it is safe. Resolves to how many were deleted.
 */
export async function deleteObjects(
  { database, artifacts }: { database: Database; artifacts: Pick<ArtifactStore, "delete"> },
  digests: readonly Digest[],
): Promise<number> {
  let deleted = 0;
  for (const digest of digests) {
    const isDeleted = await database.transaction(
      async (trx) => {
        await eraseAlone(trx);
        const { rows } = await sql`
          select 1 where exists (select 1 from conversation_media m join conversations c on c.id = m.conversation_id where m.digest = ${digest})
          or exists (select 1 from object_sources where digest = ${digest}) or exists (select 1 from groups where body_digest = ${digest})
          or exists (select 1 from claims where digest = ${digest} and deleted_at_ms is null)`.execute(trx);
        if (rows.length > 0) return false;
        await deleteSoon(artifacts, digest);
        return true;
      },
      { isolation: "read committed" },
    );
    if (isDeleted) deleted += 1;
  }
  return deleted;
}

async function deleteSoon(artifacts: Pick<ArtifactStore, "delete">, digest: Digest): Promise<void> {
  const limit = new AbortController();
  const problem = `an object was not deleted within ${LIMIT_MS} ms`;
  const late = nightshiftError("artifact_store_unavailable", { where: "of this process", problem });
  const timer = setTimeout(() => limit.abort(late), LIMIT_MS);
  try {
    await artifacts.delete(digest, { signal: limit.signal });
  } finally {
    clearTimeout(timer);
  }
}
