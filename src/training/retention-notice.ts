import { z } from "zod";
import type { Database } from "../store/database.ts";

/** How long a tenant's data is kept (config: `tenants.*.retention`). */
export interface RetentionDays {
  capturedDays: number;
  nightsDays: number;
}

/** Between the first look at a shorter retention and the first thing that goes by it: time to take a typing error back, or a backup before the first start of a new version. */
export const NOTICE_MS = 86_400_000;

const days = z.object({ capturedDays: z.number(), nightsDays: z.number() });
const noticeSchema = z.object({ days, sinceMs: z.number(), before: days.nullable() });
type Notice = z.infer<typeof noticeSchema>;

/**
 * The retention in force: what is configured, or, for a day after it was shortened or first seen, the longer of it and what was in force before; null while nothing may go. Writes down
 * what it sees, so that every leader counts from the same time.
 */
export async function retentionInForce(
  database: Database,
  tenant: string,
  configured: RetentionDays,
  nowMs: number,
): Promise<{ days: RetentionDays | null; isNew: boolean }> {
  const key = `retention:${tenant}`;
  const row = await database.kysely.selectFrom("settings").select("value").where("key", "=", key).executeTakeFirst();
  const known = row === undefined ? null : noticeSchema.parse(row.value);
  const { capturedDays, nightsDays } = configured;
  if (known !== null && known.days.capturedDays === capturedDays && known.days.nightsDays === nightsDays)
    return { days: inForce(known, nowMs), isNew: false };
  const notice: Notice = { days: { capturedDays, nightsDays }, sinceMs: nowMs, before: known === null ? null : inForce(known, nowMs) };
  const value = JSON.stringify(notice);
  await database.kysely
    .insertInto("settings")
    .values({ key, value })
    .onConflict((conflict) => conflict.column("key").doUpdateSet({ value }))
    .execute();
  return { days: inForce(notice, nowMs), isNew: true };
}

function inForce({ days: configured, sinceMs, before }: Notice, nowMs: number): RetentionDays | null {
  if (nowMs >= sinceMs + NOTICE_MS) return configured;
  if (before === null) return null;
  return {
    capturedDays: Math.max(configured.capturedDays, before.capturedDays),
    nightsDays: Math.max(configured.nightsDays, before.nightsDays),
  };
}
