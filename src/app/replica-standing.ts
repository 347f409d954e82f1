import type { Attestation } from "../serving/attestation-store.ts";

/** Whether one replica has proved an adapter active. */
export interface ReplicaStanding {
  replica: string;
  attested: boolean;
  /** It has said nothing of this adapter yet: a pod that joined the fleet. */
  isNew?: true;
}

interface Asked {
  name: string;
  /** null or unset: whoever has its name is it. */
  uid?: string | null;
  isReady?: boolean;
}

/**
 * The replicas that count, with what their own reports say. A report is of a replica if its pod wrote it: another pod of the same name (a StatefulSet's, rescheduled) is
 * another server. Left out is a pod that may get no traffic and has said nothing yet, which a fleet always has one of while it grows. Pure.
 */
export function standingsOf(replicas: readonly Asked[], reports: readonly Attestation[]): ReplicaStanding[] {
  return replicas.flatMap((replica): ReplicaStanding[] => {
    const report = reports.find((one) => isOf(replica, one));
    const attested = report?.status === "attested";
    if (report !== undefined || replica.uid == null) return [{ replica: replica.name, attested }];
    return replica.isReady === false ? [] : [{ replica: replica.name, attested, isNew: true }];
  });
}

export function isAttestedBy(replica: Asked, report: Attestation): boolean {
  return report.status === "attested" && isOf(replica, report);
}

function isOf({ name, uid }: Asked, { replica, instance }: Attestation): boolean {
  return name === replica && (uid == null || instance === uid);
}
