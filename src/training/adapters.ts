import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Digest, ArtifactStore } from "../artifact/artifact-store.ts";
import { adapterDigest, adapterName, MANIFEST_FILE, SIGNATURE_FILE, signManifest, type AdapterManifest } from "../artifact/adapter.ts";
import { digestOf } from "../artifact/digest.ts";
import type { SigningKey } from "../artifact/signing-key.ts";
import { nightshiftError } from "../errors.ts";
import type { Database } from "../store/database.ts";

/** One adapter of an agent as the control plane knows it. `directory` is a verified local copy. */
export interface RegisteredAdapter {
  digest: Digest;
  name: string;
  number: number;
  runId: string;
  iteration: number;
  manifest: AdapterManifest;
}

/** Name below which an adapter's files are published. */
export function adapterArtifact(name: string): string {
  return `adapters/${name}`;
}

interface RegistrationDeps {
  database: Database;
  artifacts: ArtifactStore;
  key: SigningKey;
}

interface Registration {
  directory: string;
  tenant: string;
  agent: string;
  runId: string;
  iteration: number;
  rank: number;
  baseDigest: Digest;
  parentDigest: Digest | null;
  lineage: Uint8Array;
  nowMs: number;
}

/** Only another process that registers an adapter of the same agent in the same second costs one. */
const NUMBERING_ATTEMPTS = 10;

/**
 * Takes an adapter that the trainer published into the artifact store: signs its manifest, publishes files and manifest under the immutable name,
 * records it. Registering the same iteration again (after a crash, or in two processes at once) gives the same adapter.
 * @param directory The trainer's adapter directory, whose own manifest has been verified by the reader of the hand-over.
 */
export async function registerAdapter(options: Registration, deps: RegistrationDeps): Promise<RegisteredAdapter> {
  const files = await readAdapterFiles(options.directory);
  for (let attempt = 1; ; attempt += 1) {
    const known = await findIteration(deps.database, options);
    if (known !== null) return known;
    const manifest = await manifestOf(options, files, deps);
    await publishSigned(manifest, files, deps);
    const registered = await insertAdapter(deps.database, manifest);
    if (registered !== null) return registered;
    // Another process took the number, or registered this iteration; the next look tells which. The unused artifact names no adapter.
    if (attempt === NUMBERING_ATTEMPTS)
      throw nightshiftError("store_unavailable", { problem: "an adapter's number was taken again and again" });
  }
}

async function findIteration(database: Database, { runId, iteration }: Registration): Promise<RegisteredAdapter | null> {
  const row = await database.kysely
    .selectFrom("adapters")
    .selectAll()
    .where("run_id", "=", runId)
    .where("iteration", "=", iteration)
    .executeTakeFirst();
  return row === undefined ? null : toAdapter(row);
}

/** Null when a row with the same number, or of the same iteration, is there already. */
async function insertAdapter(database: Database, manifest: AdapterManifest): Promise<RegisteredAdapter | null> {
  const row = {
    digest: adapterDigest(manifest),
    name: adapterName(manifest),
    number: manifest.number,
    tenant: manifest.tenant,
    agent: manifest.agent,
    run_id: manifest.runId,
    iteration: manifest.iteration,
    parent_digest: manifest.parentDigest,
    created_at_ms: manifest.createdAtMs,
  };
  const inserted = await database.kysely
    .insertInto("adapters")
    .values({ ...row, manifest: JSON.stringify(manifest) })
    .onConflict((conflict) => conflict.doNothing())
    .returning("digest")
    .executeTakeFirst();
  return inserted === undefined ? null : toAdapter({ ...row, manifest });
}

/** The adapter of a digest, or null. */
export async function findAdapter(database: Database, digest: string): Promise<RegisteredAdapter | null> {
  const row = await database.kysely.selectFrom("adapters").selectAll().where("digest", "=", digest).executeTakeFirst();
  return row === undefined ? null : toAdapter(row);
}

/** The adapter of a name or a digest, or null. */
export async function findAdapterNamed(database: Database, reference: string): Promise<RegisteredAdapter | null> {
  const row = await database.kysely
    .selectFrom("adapters")
    .selectAll()
    .where((eb) => eb.or([eb("digest", "=", reference), eb("name", "=", reference)]))
    .executeTakeFirst();
  return row === undefined ? null : toAdapter(row);
}

/** Newest first. */
export async function listAdapters(
  database: Database,
  filter: { tenant?: string; agent?: string; runId?: string; limit: number },
): Promise<RegisteredAdapter[]> {
  let query = database.kysely.selectFrom("adapters").selectAll().orderBy("created_at_ms", "desc").limit(filter.limit);
  if (filter.tenant !== undefined) query = query.where("tenant", "=", filter.tenant);
  if (filter.agent !== undefined) query = query.where("agent", "=", filter.agent);
  if (filter.runId !== undefined) query = query.where("run_id", "=", filter.runId);
  return (await query.execute()).map(toAdapter);
}

function toAdapter(row: {
  digest: string;
  name: string;
  number: number;
  run_id: string;
  iteration: number;
  manifest: object;
}): RegisteredAdapter {
  return {
    digest: row.digest as Digest,
    name: row.name,
    number: row.number,
    runId: row.run_id,
    iteration: row.iteration,
    manifest: row.manifest as AdapterManifest,
  };
}

async function readAdapterFiles(directory: string): Promise<Map<string, Uint8Array>> {
  const names = (await readdir(directory)).filter((name) => name !== MANIFEST_FILE).toSorted();
  return new Map(await Promise.all(names.map(async (name) => [name, await readFile(join(directory, name))] as const)));
}

async function manifestOf(options: Registration, files: ReadonlyMap<string, Uint8Array>, deps: RegistrationDeps): Promise<AdapterManifest> {
  const { tenant, agent, baseDigest, rank, runId, iteration, parentDigest, nowMs } = options;
  const lineage = await deps.artifacts.put(options.lineage);
  const latest = await deps.database.kysely
    .selectFrom("adapters")
    .select((eb) => eb.fn.max("number").as("number"))
    .where("tenant", "=", tenant)
    .where("agent", "=", agent)
    .executeTakeFirst();
  const listed = [...files].map(([path, bytes]) => ({ path, bytes: bytes.byteLength, digest: digestOf(bytes) }));
  return {
    format: "nightshift-adapter/1",
    ...{ tenant, agent, baseDigest, rank, runId, iteration, parentDigest },
    number: (latest?.number ?? 0) + 1,
    lineageDigest: lineage.digest,
    createdAtMs: nowMs,
    files: listed.toSorted((a, b) => (a.path < b.path ? -1 : 1)),
  };
}

async function publishSigned(manifest: AdapterManifest, files: ReadonlyMap<string, Uint8Array>, deps: RegistrationDeps): Promise<void> {
  const encode = (value: unknown): Uint8Array => new TextEncoder().encode(`${JSON.stringify(value)}\n`);
  const signed = new Map([...files, [SIGNATURE_FILE, encode(signManifest(manifest, deps.key))], [MANIFEST_FILE, encode(manifest)]]);
  await deps.artifacts.publish(adapterArtifact(adapterName(manifest)), signed);
}
