import { randomUUID, type KeyObject } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { ArtifactStore, Digest } from "../artifact/artifact-store.ts";
import { verifyAdapterDirectory } from "../artifact/verify-adapter.ts";
import type { Logger } from "../log.ts";
import { createAdapterAgent, type AdapterAgent, type AdapterAgentDeps } from "../serving/adapter-agent.ts";
import { adapterReferenceSchema, proveActive } from "../serving/attest.ts";
import type { PolicyServer } from "../serving/policy-server.ts";
import { adapterArtifact } from "../training/adapters.ts";

/** One policy server process that serves one or several agents. */
export interface Replica {
  name: string;
  url: string;
  policyServer: PolicyServer;
  /** Identity of the server's process; null when it cannot be told now. */
  instance: () => Promise<string | null>;
  /** A process beside the server looks after its adapters; this one only reads its reports. */
  hasOwnAdapterAgent?: boolean;
  /** Of its pod: what another pod of the same name proved is no proof of this one's. */
  uid?: string | null;
  /** Off: its pod may get no traffic now. */
  isReady?: boolean;
}

export interface ReplicaAdaptersOptions {
  replica: Replica;
  /** Slugs of the agents whose adapters this one manages. */
  agents: readonly string[];
  /** Name under which the replica serves the base. */
  baseModel: string;
  baseDigest: Digest;
  /** Keys that adapters may be signed with. */
  publicKeys: readonly KeyObject[];
}

/** What reports of a policy server are filed under. */
export function replicaName(agent: string, server: { name?: string | undefined }, index: number): string {
  return server.name ?? `${agent}-${index}`;
}

const PASS_EVERY_MS = 1_000;
const RETRY_MS = 2_000;
const MAX_RANK = 64;

/** The adapter agent of one replica: adapters come from the artifact store, are verified, loaded and proven; what became of them goes to `publish`. */
export function createReplicaAdapters(
  { replica, agents, baseModel, baseDigest, publicKeys }: ReplicaAdaptersOptions,
  deps: { artifacts: ArtifactStore; publish: AdapterAgentDeps["publish"]; log: Logger; now: () => number; monotonicMs: () => number },
): AdapterAgent {
  return createAdapterAgent(
    { replica: replica.name, agents, intervalMs: PASS_EVERY_MS, retryMs: RETRY_MS },
    {
      ...deps,
      policyServer: replica.policyServer,
      instance: () => replica.instance(),
      fetchAdapter: async ({ name }, { signal }) => {
        const found = await deps.artifacts.checkout(adapterArtifact(name), signal === undefined ? {} : { signal });
        // The server runs elsewhere in its own working directory: the path must be absolute.
        return found === null ? null : { directory: resolve(found.directory) };
      },
      verify: (directory) => verifyAdapterDirectory(directory, { publicKeys, baseDigest, maxRank: MAX_RANK }),
      prove: async ({ name, directory }, proofOptions) => {
        const reference = adapterReferenceSchema.parse(JSON.parse(await readFile(join(directory, "reference.json"), "utf8")));
        return proveActive(replica.policyServer, { baseModel, adapterName: name, reference, cacheSalt: randomUUID() }, proofOptions);
      },
    },
  );
}
