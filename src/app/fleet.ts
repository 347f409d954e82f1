import { setTimeout as sleep } from "node:timers/promises";
import type { ArtifactStore, Digest } from "../artifact/artifact-store.ts";
import type { SigningKey } from "../artifact/signing-key.ts";
import type { AgentConfig } from "../config.ts";
import { nightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { DesiredAdapter } from "../serving/adapter-bring-up.ts";
import { createAttestationStore, type AttestationStore } from "../serving/attestation-store.ts";
import type { PolicyServer } from "../serving/policy-server.ts";
import { spreadCalls } from "../serving/spread.ts";
import type { Database } from "../store/database.ts";
import { createReplicaAdapters, type Replica } from "./replica-adapters.ts";

/** An agent's replicas with their adapter agents. */
export interface AgentFleet {
  replicas: readonly Replica[];
  policyServer: PolicyServer;
  attestations: AttestationStore;
  /** Replaces what the replicas of this process should serve; takes effect with the next pass, which starts at once. */
  want(desired: readonly DesiredAdapter[]): void;
  /** Resolves when every replica proved the adapter active. @throws NightshiftError `adapter_refused` when one refuses it */
  awaitServed(adapter: DesiredAdapter, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** Between looks at the reports of adapter agents that are processes of their own. */
const LOOK_EVERY_MS = 100;

export function createAgentFleet(
  options: { agent: string; config: AgentConfig; replicas: readonly Replica[]; baseDigest: Digest },
  deps: { database: Database; artifacts: ArtifactStore; key: SigningKey; log: Logger; now: () => number; monotonicMs: () => number },
): AgentFleet {
  const attestations = createAttestationStore(deps.database);
  const stopping = new AbortController();
  const { agent, config, replicas, baseDigest } = options;
  const shared = { agents: [agent], baseModel: config.model, baseDigest, publicKeys: [deps.key.publicKey] };
  const elsewhere = replicas.filter(({ hasOwnAdapterAgent }) => hasOwnAdapterAgent === true);
  const agents = replicas
    .filter((replica) => !elsewhere.includes(replica))
    .map((replica) => createReplicaAdapters({ replica, ...shared }, { ...deps, publish: (report) => attestations.save(report) }));
  const running = agents.map((one) => one.run({ signal: stopping.signal }));
  const isServed = async (adapter: DesiredAdapter): Promise<boolean> => {
    if (!agents.every((one) => one.isAttested(adapter.name))) return false;
    if (elsewhere.length === 0) return true;
    const reports = await attestations.list(adapter.digest);
    return elsewhere.every(({ name }) => reports.some(({ replica, status }) => replica === name && status === "attested"));
  };
  return {
    replicas,
    policyServer: spreadCalls(
      replicas.map((replica) => replica.policyServer),
      config.replay,
    ),
    attestations,
    want(desired) {
      for (const one of agents) one.want(desired);
    },
    async awaitServed(adapter, signal) {
      for (;;) {
        if (await isServed(adapter)) return;
        await Promise.all(agents.map((one) => one.reconcile({ signal })));
        if (await isServed(adapter)) return;
        // What an earlier process of the server refused says nothing about this one.
        const instances = new Map(await Promise.all(replicas.map(async ({ name, instance }) => [name, await instance()] as const)));
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
        await sleep(LOOK_EVERY_MS, undefined, { signal });
      }
    },
    async close() {
      stopping.abort();
      await Promise.all(running);
    },
  };
}
