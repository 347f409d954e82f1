import { sql } from "kysely";
import { nightshiftError } from "../errors.ts";
import { findAdapter, findAdapterNamed, type RegisteredAdapter } from "../training/adapters.ts";
import { isWithin, type Scope } from "./scope.ts";

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
export async function lineageOf(reference: string, scope: Scope): Promise<Lineage> {
  const named = await adapterByReference(reference, scope);
  const answer = named === null ? await answerOf(reference, scope) : null;
  if (named === null && answer === null) throw nightshiftError("not_found", { what: `adapter, answer or conversation ${reference}` });
  const first = named ?? (answer?.adapterDigest == null ? null : await adapterByReference(answer.adapterDigest, scope));
  const adapters: Lineage["adapters"] = [];
  for (let adapter = first; adapter !== null; adapter = await parentOf(adapter, scope)) {
    const { digest, name, runId, iteration } = adapter;
    adapters.push({ digest, name, runId, iteration, learnedFrom: await learnedFrom(adapter, scope) });
  }
  // Every adapter of a run carries the groups of the iterations before it: the newest of each run has them all.
  const conversations = new Set(adapters.flatMap(({ learnedFrom: groups }) => groups.flatMap((group) => group.conversation_id ?? [])));
  return { reference, answer, adapters, conversations: conversations.size };
}

async function adapterByReference(reference: string, scope: Scope): Promise<RegisteredAdapter | null> {
  const adapter = await findAdapterNamed(scope.database, reference);
  // Which adapter answered is what telemetry says: a sender may name anybody's.
  return adapter !== null && isWithin(scope, adapter.manifest) ? adapter : null;
}

async function answerOf(reference: string, scope: Scope): Promise<Lineage["answer"]> {
  const row = await scope.database.kysely
    .selectFrom("trajectories")
    .select(["id", "version", "conversation_key", "adapter_digest"])
    .where("superseded", "=", false)
    .$if(scope.tenant !== null, (query) => query.where("tenant", "=", scope.tenant ?? ""))
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

async function parentOf(adapter: RegisteredAdapter, scope: Scope): Promise<RegisteredAdapter | null> {
  const { parentDigest } = adapter.manifest;
  return parentDigest === null ? null : findAdapter(scope.database, parentDigest);
}

async function learnedFrom(adapter: RegisteredAdapter, scope: Scope): Promise<LearnedGroup[]> {
  const bytes = await scope.artifacts.get(adapter.manifest.lineageDigest);
  if (bytes === null) throw nightshiftError("artifact_missing", { what: `lineage of ${adapter.name}` });
  const { groups } = JSON.parse(new TextDecoder().decode(bytes)) as { groups: LearnedGroup[] };
  return groups;
}
