import type { Kysely } from "kysely";
import type { Tables } from "./tables.ts";

/** Sets `name` to `value` if nobody has set it before. Resolves to what it is: the first value of all, for every process that ever asks. */
export async function pinSetting(db: Kysely<Tables>, name: string, value: string): Promise<string> {
  await db
    .insertInto("settings")
    .values({ key: name, value: JSON.stringify({ pinned: value }) })
    .onConflict((conflict) => conflict.column("key").doNothing())
    .execute();
  const row = await db.selectFrom("settings").select("value").where("key", "=", name).executeTakeFirstOrThrow();
  return (row.value as { pinned: string }).pinned;
}
