import { silentLog } from "../../src/log.ts";
import { createPglite } from "../../src/store/pglite.ts";

/** Child process of the durability test: inserts spans for ever and tells its parent each id after the commit. Arguments: directory, first id. */
const [dir = "", first = "0"] = process.argv.slice(2);
const database = await createPglite({ dir, log: silentLog() });
await database.migrate();
const raw = new Uint8Array(8192).fill(7);
for (let id = Number(first); ; id += 1) {
  await database.kysely
    .insertInto("spans")
    .values({ tenant: "t", trace_id: "t", span_id: String(id), raw, received_at_ms: id })
    .execute();
  process.send?.(id);
}
