import type { Logger } from "../log.ts";
import type { Database } from "../store/database.ts";

/** A trainer that beat no more beside a running job, and was left alone. */
export interface Silence {
  /** Of its row. */
  id: number;
  runId: string;
  agent: string;
  silentMs: number;
  atMs: number;
}

const ACTION = "trainer_silent";

/** Writes it down for those who look after where trainers run (`app/cluster-mirror.ts`). That they hear of it is worth no night: a database that does not take it costs a line of the log. */
export async function noteSilence(
  { runId, agent, silentMs }: Pick<Silence, "runId" | "agent" | "silentMs">,
  { database, log, now }: { database: Database; log: Logger; now: () => number },
): Promise<void> {
  const body = JSON.stringify({ agent, silentMs });
  try {
    await database.kysely.insertInto("audit").values({ at_ms: now(), actor: "controller", action: ACTION, subject: runId, body }).execute();
  } catch (err) {
    log.warn({ run_id: runId, err }, "silent trainer not written down");
  }
}

/** Oldest first. */
export async function silencesSince(fromMs: number, { database }: { database: Database }): Promise<Silence[]> {
  const rows = await database.kysely
    .selectFrom("audit")
    .select(["id", "at_ms", "subject", "body"])
    .where("at_ms", ">=", fromMs)
    .where("action", "=", ACTION)
    .orderBy("id")
    .execute();
  return rows.map(({ id, at_ms: atMs, subject: runId, body }) => {
    const { agent, silentMs } = body as { agent: string; silentMs: number };
    return { id, runId, agent, silentMs, atMs };
  });
}
