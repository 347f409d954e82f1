import { z } from "zod";
import type { Database } from "../store/database.ts";

/** What the replicas of an agent must hold, for adapter agents that are processes of their own. */
export const desiredAdaptersSchema = z.strictObject({
  agent: z.string(),
  adapters: z.array(z.strictObject({ name: z.string(), digest: z.string() })).max(64),
  /** The adapter that stable answers with; null while that is the base model. A replica without it must get no traffic. */
  stable: z.string().nullable(),
});
export type DesiredAdapters = z.infer<typeof desiredAdaptersSchema>;

/** The desired sets in the database: the leader writes them, any replica of `serve` answers with them. */
export interface DesiredAdapterStore {
  /** Writes only what differs from the last one that this store wrote. */
  save(desired: DesiredAdapters): Promise<void>;
  /** null before the first one. */
  read(agent: string): Promise<DesiredAdapters | null>;
}

export function createDesiredAdapterStore({ kysely }: Database): DesiredAdapterStore {
  const key = (agent: string): string => `desired_adapters:${agent}`;
  const written = new Map<string, string>();
  return {
    async save(desired) {
      const value = JSON.stringify(desired);
      if (written.get(desired.agent) === value) return;
      await kysely
        .insertInto("settings")
        .values({ key: key(desired.agent), value })
        .onConflict((conflict) => conflict.column("key").doUpdateSet({ value }))
        .execute();
      written.set(desired.agent, value);
    },
    async read(agent) {
      const row = await kysely.selectFrom("settings").select("value").where("key", "=", key(agent)).executeTakeFirst();
      return row === undefined ? null : desiredAdaptersSchema.parse(row.value);
    },
  };
}
