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
import { isAttestedBy, standingsOf, type ReplicaStanding } from "./replica-standing.ts";
import type { AgentReplicas } from "./replicas.ts";

/** An agent's replicas with their adapter agents. */
export interface AgentFleet {
  policyServer: PolicyServer;
  attestations: AttestationStore;
  /** Which replicas proved the adapter active, in the process (or pod) that they are now. One that joined and has said nothing of it yet is new, and left out while it may get no traffic. */
  standings(digest: string): Promise<readonly ReplicaStanding[]>;
  /** Replaces what the replicas of this process should serve; takes effect with the next pass, which starts at once. */
  want(desired: readonly DesiredAdapter[]): void;
  /** Resolves when every replica proved the adapter active. @throws NightshiftError `adapter_refused` when one refuses it */
  awaitServed(adapter: DesiredAdapter, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** Between looks at the reports of adapter agents that are processes of their own. */
const LOOK_EVERY_MS = 100;

export function createAgentFleet(
  options: { agent: string; config: AgentConfig; replicas: readonly Replica[] | AgentReplicas; baseDigest: Digest },
  deps: { database: Database; artifacts: ArtifactStore; key: SigningKey; log: Logger; now: () => number; monotonicMs: () => number },
): AgentFleet {
  const attestations = createAttestationStore(deps.database);
  const stopping = new AbortController();
  const { agent, config, baseDigest } = options;
  const replicas = "current" in options.replicas ? options.replicas : fixed(options.replicas);
  const { source } = replicas;
  const current = (): readonly Replica[] => replicas.current();
  const shared = { agents: [agent], baseModel: config.model, baseDigest, publicKeys: [deps.key.publicKey] };
  const isElsewhere = ({ hasOwnAdapterAgent }: Replica): boolean => hasOwnAdapterAgent === true;
  // Those that are found while this process runs have adapter agents of their own.
  const agents = (source === null ? current() : [])
    .filter((replica) => !isElsewhere(replica))
    .map((replica) => createReplicaAdapters({ replica, ...shared }, { ...deps, publish: (report) => attestations.save(report) }));
  const running = agents.map((one) => one.run({ signal: stopping.signal }));
  /** Without an error where none were found yet: calls are to be tried again then. */
  const known = (): readonly Replica[] => (source !== null && source.current() === null ? [] : current());
  const standings = async (digest: string): Promise<ReplicaStanding[]> => standingsOf(current(), await attestations.list(digest));
  /** Replicas that had an adapter when it was last waited for, by its name. */
  const able = new Map<string, ReadonlySet<string>>();

  const isServed = async ({ name, digest }: DesiredAdapter): Promise<boolean> => {
    if (!agents.every((one) => one.isAttested(name))) return false;
    const elsewhere = current().filter(isElsewhere);
    if (elsewhere.length === 0) return source === null;
    const reports = await attestations.list(digest);
    const asked = standingsOf(elsewhere, reports);
    if (asked.length === 0 || asked.some(({ attested }) => !attested)) return false;
    able.set(name, new Set(elsewhere.filter((replica) => reports.some((report) => isAttestedBy(replica, report))).map(identityOf)));
    return true;
  };
  return {
    policyServer: spreadCalls((model) => ableOf(source === null ? known() : readyOf(known()), able.get(model ?? "")), config.replay),
    attestations,
    standings,
    want(desired) {
      for (const name of able.keys()) if (!desired.some((one) => one.name === name)) able.delete(name);
      for (const one of agents) one.want(desired);
    },
    async awaitServed(adapter, signal) {
      for (;;) {
        if (await isServed(adapter)) return;
        await Promise.all(agents.map((one) => one.reconcile({ signal })));
        if (await isServed(adapter)) return;
        await throwIfRefused(adapter, current(), attestations);
        await sleep(LOOK_EVERY_MS, undefined, { signal });
      }
    },
    async close() {
      stopping.abort();
      await Promise.all(running);
    },
  };
}

/** What an earlier process of the server, or an earlier pod of its name, refused says nothing about this one. */
async function throwIfRefused(adapter: DesiredAdapter, replicas: readonly Replica[], attestations: AttestationStore): Promise<void> {
  const instances = new Map(await Promise.all(replicas.map(async ({ name, instance }) => [name, await instance()] as const)));
  const reports = await attestations.list(adapter.digest);
  const refusal = reports.find(
    ({ status, replica, instance }) => status === "refused" && instances.has(replica) && (instances.get(replica) ?? instance) === instance,
  );
  if (refusal === undefined) return;
  throw nightshiftError("adapter_refused", { adapter: adapter.name, replica: refusal.replica, reason: refusal.reason ?? "unknown" });
}

/** Of replicas that come and go: whoever was not there when the adapter was waited for need not have it yet. */
function ableOf(replicas: readonly Replica[], able: ReadonlySet<string> | undefined): readonly PolicyServer[] {
  const having = able === undefined ? [] : replicas.filter((replica) => able.has(identityOf(replica)));
  return (having.length > 0 ? having : replicas).map(({ policyServer }) => policyServer);
}

function readyOf(replicas: readonly Replica[]): readonly Replica[] {
  const ready = replicas.filter(({ isReady }) => isReady !== false);
  return ready.length > 0 ? ready : replicas;
}

function identityOf({ name, uid }: Replica): string {
  return `${name}/${uid ?? ""}`;
}

function fixed(replicas: readonly Replica[]): AgentReplicas {
  return { current: () => replicas, source: null };
}
