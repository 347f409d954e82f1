import type { ArtifactStore } from "../artifact/artifact-store.ts";
import { NightshiftError } from "../errors.ts";
import type { Database } from "../store/database.ts";
import { listAdapters, type RegisteredAdapter } from "./adapters.ts";

/** An adapter that has something of a subject in its weights. */
export interface LearnedAdapter {
  name: string;
  digest: string;
  runId: string;
  /** `trained` on it, or `descended` from one that was. */
  how: "trained" | "descended";
}

/** Adapters of one tenant; a night makes four. */
const MAX_ADAPTERS = 10_000;

/**
 * Runs and adapters that learned from these conversations: those whose signed lineage names one, those of the given iterations, and every adapter that went on from one of them. Lineage
 * stays when all else is erased, so the answer is the same afterwards.
 */
export async function learnedFrom(
  {
    tenant,
    conversationIds,
    learned,
  }: { tenant: string; conversationIds: readonly string[]; learned: readonly { runId: string; iteration: number }[] },
  deps: { database: Database; artifacts: ArtifactStore },
): Promise<{ runs: string[]; adapters: LearnedAdapter[] }> {
  const adapters = (await listAdapters(deps.database, { tenant, limit: MAX_ADAPTERS })).reverse();
  const asked = new Set(conversationIds);
  const trained = new Set<string>();
  for (const adapter of adapters) {
    const isOfRun = learned.some(({ runId, iteration }) => adapter.runId === runId && adapter.iteration >= iteration);
    if (isOfRun || (asked.size > 0 && (await lineageNames(adapter, asked, deps.artifacts)))) trained.add(adapter.digest);
  }
  const touched = new Set(trained);
  // Oldest first, so a parent comes before its children.
  for (const { digest, manifest } of adapters)
    if (manifest.parentDigest !== null && touched.has(manifest.parentDigest)) touched.add(digest);
  const found = adapters.filter(({ digest }) => touched.has(digest));
  const runs = [...learned.map(({ runId }) => runId), ...found.filter(({ digest }) => trained.has(digest)).map(({ runId }) => runId)];
  return {
    runs: [...new Set(runs)].toSorted(),
    adapters: found.map(({ name, digest, runId }) => ({ name, digest, runId, how: trained.has(digest) ? "trained" : "descended" })),
  };
}

async function lineageNames(
  { manifest }: RegisteredAdapter,
  conversationIds: ReadonlySet<string>,
  artifacts: ArtifactStore,
): Promise<boolean> {
  const bytes = await artifacts.get(manifest.lineageDigest).catch((error: unknown) => {
    // A lineage that cannot be read any more says nothing; the iterations of its run still do.
    if (error instanceof NightshiftError && error.code === "artifact_corrupt") return null;
    throw error;
  });
  if (bytes === null || bytes.byteLength === 0) return false;
  const { groups } = JSON.parse(new TextDecoder().decode(bytes)) as { groups: readonly { conversation_id: string | null }[] };
  return groups.some((group) => group.conversation_id !== null && conversationIds.has(group.conversation_id));
}
