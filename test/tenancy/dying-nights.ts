import { silentLog } from "../../src/log.ts";
import { createPglite } from "../../src/store/pglite.ts";
import { nightsOf } from "./nights.ts";

/** Child process of the kill test: two agents' runs are asked for, the first is under way, the second waits, until it is killed. Arguments: directory of the store, of runs. */
const [store = "", directory = ""] = process.argv.slice(2);
const database = await createPglite({ dir: store, log: silentLog() });
await database.migrate();
const nights = nightsOf(database, { runsAtOnce: 1, directory });
await nights.runs.create({ id: "first", tenant: "south", agent: "south-desk", plan: {}, nowMs: 2_000 });
const { signal } = new AbortController();
void nights.shifts["south-desk"].work(signal);
await nights.begun("south-desk");
// By a replica whose clock is behind: it came later all the same.
await nights.runs.create({ id: "second", tenant: "north", agent: "north-desk", plan: {}, nowMs: 1_000 });
await nights.shifts["north-desk"].work(signal);
process.send?.({ before: await nights.queue.before("second"), over: nights.over });
