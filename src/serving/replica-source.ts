import { z } from "zod";

/** Where one replica of an agent answers. */
export interface ReplicaAddress {
  /** What its adapters are reported under. */
  name: string;
  /** Of its policy server. */
  url: string;
  /** Of its adapter agent; null where it has none. */
  readinessUrl: string | null;
  /** Of its pod: another pod of the same name is another replica. null where it has none. */
  uid: string | null;
  /** Whoever runs it lets it have traffic. */
  isReady: boolean;
}

/**
 * Which replicas an agent has now. A replica that goes away is gone, one that comes back is a new one where its uid says so; nobody is told of what lies between two
 * looks. Never throws: what cannot be looked at stays as it was.
 */
export interface ReplicaSource {
  /** In the order of their names; null while none was ever seen, which is something else than no replica. */
  current(): readonly ReplicaAddress[] | null;
  /** Calls `listener` after every change. Returns how to stop. */
  subscribe(listener: () => void): () => void;
}

const addressSchema: z.ZodType<ReplicaAddress> = z.object({
  name: z.string().min(1).max(200),
  url: z.url(),
  readinessUrl: z.url().nullable(),
  uid: z.string().nullable(),
  isReady: z.boolean(),
});

/** Replicas as the control service tells gateways of them. `version` names their state, and says nothing of which is newer. */
export const toldReplicasSchema = z.object({
  agent: z.string(),
  version: z.string().min(1),
  replicas: z.array(addressSchema).max(10_000).readonly(),
});
export type ToldReplicas = z.infer<typeof toldReplicasSchema>;

/** A source whose state somebody sets. */
export interface HeldReplicas extends ReplicaSource {
  set(replicas: readonly ReplicaAddress[]): void;
}

/** What is set is told on only where it differs. */
export function holdReplicas(): HeldReplicas {
  const listeners = new Set<() => void>();
  let current: readonly ReplicaAddress[] | null = null;
  return {
    current: () => current,
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    set(replicas) {
      const sorted = replicas.toSorted((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
      if (JSON.stringify(sorted) === JSON.stringify(current)) return;
      current = sorted;
      for (const listener of listeners) listener();
    },
  };
}
