import { sql } from "kysely";
import { nightshiftError } from "../errors.ts";
import { findAdapter, type RegisteredAdapter } from "../training/adapters.ts";
import type { ApiDeps } from "./control.ts";

/** From a served answer, a conversation or an adapter back to the conversations that taught it. */
export interface Lineage {
  reference: string;
  /** The answer that the reference named, where it named one. */
  answer: { trajectoryId: string; version: number; conversationKey: string; adapterDigest: string | null } | null;
  /** From the adapter that served back to the first that was trained on the base. */
  adapters: { digest: string; name: string; runId: string; iteration: number; learnedFrom: LearnedGroup[] }[];
  /** Distinct conversations over all adapters. */
  conversations: number;
}

interface LearnedGroup {
  group_id: string;
  iteration: number;
  /** What its iteration learned by. Missing in lineage from before there was a choice. */
  objective?: string;
  scenario_id: string;
  trajectory_id: string | null;
  trajectory_version: number | null;
  conversation_id: string | null;
}

/**
 * Follows a reference: an adapter's digest or name, a response id, a conversation's key or id, or a trajectory id.
 * @throws NightshiftError `not_found`
 */
export async function lineageOf(reference: string, deps: ApiDeps): Promise<Lineage> {
  const named = await adapterByReference(reference, deps);
  const answer = named === null ? await answerOf(reference, deps) : null;
  if (named === null && answer === null) throw nightshiftError("not_found", { what: `adapter, answer or conversation ${reference}` });
  const first = named ?? (answer?.adapterDigest == null ? null : await findAdapter(deps.database, answer.adapterDigest));
  const adapters: Lineage["adapters"] = [];
  for (let adapter = first; adapter !== null; adapter = await parentOf(adapter, deps)) {
    const { digest, name, runId, iteration } = adapter;
    adapters.push({ digest, name, runId, iteration, learnedFrom: await learnedFrom(adapter, deps) });
  }
  // Every adapter of a run carries the groups of the iterations before it: the newest of each run has them all.
  const conversations = new Set(adapters.flatMap(({ learnedFrom: groups }) => groups.flatMap((group) => group.conversation_id ?? [])));
  return { reference, answer, adapters, conversations: conversations.size };
}

async function adapterByReference(reference: string, deps: ApiDeps): Promise<RegisteredAdapter | null> {
  const row = await deps.database.kysely
    .selectFrom("adapters")
    .select("digest")
    .where((eb) => eb.or([eb("digest", "=", reference), eb("name", "=", reference)]))
    .executeTakeFirst();
  return row === undefined ? null : findAdapter(deps.database, row.digest);
}

async function answerOf(reference: string, deps: ApiDeps): Promise<Lineage["answer"]> {
  const row = await deps.database.kysely
    .selectFrom("trajectories")
    .select(["id", "version", "conversation_key", "adapter_digest"])
    .where("superseded", "=", false)
    .where((eb) =>
      eb.or([
        eb("id", "=", reference),
        eb("conversation_id", "=", reference),
        eb("conversation_key", "=", reference),
        sql<boolean>`exists (select 1 from json_array_elements_text(body -> 'responseIds') as r(id) where r.id = ${reference})`,
      ]),
    )
    .orderBy("ended_at_ms", "desc")
    .executeTakeFirst();
  if (row === undefined) return null;
  return { trajectoryId: row.id, version: row.version, conversationKey: row.conversation_key, adapterDigest: row.adapter_digest };
}

async function parentOf(adapter: RegisteredAdapter, deps: ApiDeps): Promise<RegisteredAdapter | null> {
  const { parentDigest } = adapter.manifest;
  return parentDigest === null ? null : findAdapter(deps.database, parentDigest);
}

async function learnedFrom(adapter: RegisteredAdapter, deps: ApiDeps): Promise<LearnedGroup[]> {
  const bytes = await deps.artifacts.get(adapter.manifest.lineageDigest);
  if (bytes === null) throw nightshiftError("artifact_missing", { what: `lineage of ${adapter.name}` });
  const { groups } = JSON.parse(new TextDecoder().decode(bytes)) as { groups: LearnedGroup[] };
  return groups;
}
