import { silentLog } from "../../../src/log.ts";
import { createPostgres } from "../../../src/store/postgres.ts";
import { createAssembler } from "../../../src/trajectory/assembler.ts";
import { ingest } from "../../trajectory/ingest.ts";
import { config, deliveries, LONG_AFTER_MS } from "./arrivals.ts";
import { LIMITS } from "./limits.ts";

/**
 * One of several processes that take in deliveries, eight at a time, and assemble beside it. Arguments: URL, the options of `deliveries` as JSON, every how many
 * requests one is this worker's, and the first. Tells its parent the trajectory versions that it assembled.
 */
const [url = "", options = "", every = "1", first = "0"] = process.argv.slice(2);
const requests = deliveries(JSON.parse(options) as Parameters<typeof deliveries>[0])
  .map((request, index) => ({ request, index }))
  .filter(({ index }) => index % Number(every) === Number(first));
const database = createPostgres({ ...LIMITS, url }, { log: silentLog() });
const assembler = createAssembler({ database, config, log: silentLog() });
const assembled: string[] = [];

const takeIn = async (): Promise<void> => {
  for (let next = requests.shift(); next !== undefined; next = requests.shift()) {
    await ingest(database, config.agents, next.request, 1_000 + next.index);
  }
};
const sweep = async (): Promise<void> => {
  for (let left = 1; left > 0; left = requests.length) {
    for (const { id, version } of await assembler.sweep(LONG_AFTER_MS)) assembled.push(`${id}@${version}`);
  }
};
await Promise.all([...Array.from({ length: 8 }, takeIn), sweep()]);
await sweep();
await database.close();
process.send?.(assembled);
