import type { Database } from "../store/database.ts";
import type { AdapterReport } from "./adapter-report.ts";

/** The newest report of one adapter on one replica. */
export interface Attestation {
  digest: string;
  replica: string;
  instance: string;
  status: AdapterReport["status"];
  reason: string | null;
  detail: string | null;
  figures: Record<string, number> | null;
  atMs: number;
}

/** What adapter agents reported. */
export interface AttestationStore {
  /** Replaces what was known of this adapter on this replica. */
  save(report: AdapterReport): Promise<void>;
  /** Newest reports of one adapter, by replica. */
  list(digest: string): Promise<Attestation[]>;
}

export function createAttestationStore(database: Database): AttestationStore {
  return {
    async save(report) {
      const { digest, replica, instance, atMs } = report;
      const decision = JSON.stringify({
        status: report.status,
        reason: report.status === "refused" ? report.reason : null,
        detail: report.status === "refused" ? report.detail : null,
        figures: report.status === "attested" ? report.figures : null,
      });
      await database.kysely
        .insertInto("attestations")
        .values({ digest, replica, instance, decision, at_ms: atMs })
        .onConflict((conflict) => conflict.columns(["digest", "replica"]).doUpdateSet({ instance, decision, at_ms: atMs }))
        .execute();
    },
    async list(digest) {
      const rows = await database.kysely.selectFrom("attestations").selectAll().where("digest", "=", digest).orderBy("replica").execute();
      return rows.map((row) => {
        const { status, reason, detail, figures } = row.decision as unknown as Pick<
          Attestation,
          "status" | "reason" | "detail" | "figures"
        >;
        return { digest: row.digest, replica: row.replica, instance: row.instance, atMs: row.at_ms, status, reason, detail, figures };
      });
    },
  };
}
