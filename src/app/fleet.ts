import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { ArtifactStore, Digest } from "../artifact/artifact-store.ts";
import type { SigningKey } from "../artifact/signing-key.ts";
import { verifyAdapterDirectory } from "../artifact/verify-adapter.ts";
import type { AgentConfig } from "../config.ts";
import { nightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { createAdapterAgent, type AdapterAgent } from "../serving/adapter-agent.ts";
import type { DesiredAdapter } from "../serving/adapter-bring-up.ts";
import { createAttestationStore, type AttestationStore } from "../serving/attestation-store.ts";
import { adapterReferenceSchema, proveActive } from "../serving/attest.ts";
import type { PolicyServer } from "../serving/policy-server.ts";
import { spreadCalls } from "../serving/spread.ts";
import type { Database } from "../store/database.ts";
import { adapterArtifact } from "../training/adapters.ts";

/** One policy server process that serves an agent. */
export interface Replica {
  name: string;
  url: string;
  policyServer: PolicyServer;
  /** Identity of the server's process; null when it cannot be told now. */
  instance: () => Promise<string | null>;
}

/** An agent's replicas with their adapter agents. */
export interface AgentFleet {
  replicas: readonly Replica[];
  policyServer: PolicyServer;
  attestations: AttestationStore;
  /** Replaces what the replicas should serve; takes effect with the next pass, which starts at once. */
  want(desired: readonly DesiredAdapter[]): void;
  /** Resolves when every replica proved the adapter active. @throws NightshiftError `adapter_refused` when one refuses it */
  awaitServed(adapter: DesiredAdapter, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

const PASS_EVERY_MS = 1_000;
const RETRY_MS = 2_000;
const MAX_RANK = 64;

export function createAgentFleet(
  options: { agent: string; config: AgentConfig; replicas: readonly Replica[]; baseDigest: Digest },
  deps: { database: Database; artifacts: ArtifactStore; key: SigningKey; log: Logger; now: () => number; monotonicMs: () => number },
): AgentFleet {
  const attestations = createAttestationStore(deps.database);
  const stopping = new AbortController();
  const agents = options.replicas.map((replica) => adapterAgentOf(replica, options, { ...deps, attestations }));
  const running = agents.map((agent) => agent.run({ signal: stopping.signal }));
  return {
    replicas: options.replicas,
    policyServer: spreadCalls(options.replicas.map((replica) => replica.policyServer)),
    attestations,
    want(desired) {
      for (const agent of agents) agent.want(desired);
    },
    async awaitServed(adapter, signal) {
      for (;;) {
        if (agents.every((agent) => agent.isAttested(adapter.name))) return;
        await Promise.all(agents.map((agent) => agent.reconcile({ signal })));
        if (agents.every((agent) => agent.isAttested(adapter.name))) return;
        // What an earlier process of the server refused says nothing about this one.
        const instances = new Map(await Promise.all(options.replicas.map(async ({ name, instance }) => [name, await instance()] as const)));
        const reports = await attestations.list(adapter.digest);
        const refusal = reports.find(
          ({ status, replica, instance }) => status === "refused" && (instances.get(replica) ?? instance) === instance,
        );
        if (refusal !== undefined) {
          throw nightshiftError("adapter_refused", {
            adapter: adapter.name,
            replica: refusal.replica,
            reason: refusal.reason ?? "unknown",
          });
        }
        await sleep(100, undefined, { signal });
      }
    },
    async close() {
      stopping.abort();
      await Promise.all(running);
    },
  };
}

function adapterAgentOf(
  replica: Replica,
  options: { agent: string; config: AgentConfig; baseDigest: Digest },
  deps: {
    artifacts: ArtifactStore;
    key: SigningKey;
    log: Logger;
    now: () => number;
    monotonicMs: () => number;
    attestations: AttestationStore;
  },
): AdapterAgent {
  const expected = { publicKeys: [deps.key.publicKey], baseDigest: options.baseDigest, maxRank: MAX_RANK };
  return createAdapterAgent(
    { replica: replica.name, agents: [options.agent], intervalMs: PASS_EVERY_MS, retryMs: RETRY_MS },
    {
      policyServer: replica.policyServer,
      instance: () => replica.instance(),
      fetchAdapter: async ({ name }, { signal }) => {
        const found = await deps.artifacts.checkout(adapterArtifact(name), signal === undefined ? {} : { signal });
        // The server runs elsewhere in its own working directory: the path must be absolute.
        return found === null ? null : { directory: resolve(found.directory) };
      },
      verify: (directory) => verifyAdapterDirectory(directory, expected),
      prove: async ({ name, directory }, proofOptions) => {
        const reference = adapterReferenceSchema.parse(JSON.parse(await readFile(join(directory, "reference.json"), "utf8")));
        return proveActive(
          replica.policyServer,
          { baseModel: options.config.model, adapterName: name, reference, cacheSalt: randomUUID() },
          proofOptions,
        );
      },
      publish: (report) => deps.attestations.save(report),
      now: deps.now,
      monotonicMs: deps.monotonicMs,
      log: deps.log,
    },
  );
}
