import { join } from "node:path";
import { startCapture } from "../../../src/app/capture.ts";
import { createFileArtifactStore } from "../../../src/artifact/file.ts";
import { parseConfig } from "../../../src/config.ts";
import { createLog } from "../../../src/log.ts";
import { createPglite } from "../../../src/store/pglite.ts";
import { createInlineTransport } from "../../../src/transport/inline.ts";

/** All of capture on the embedded parts: `node embedded.ts DIR`. Prints its port, and with every line on stdin how many trajectories there are. */
const dataDir = process.argv[2] ?? "";
const log = createLog({ level: "warn", process: "bench" });
const database = await createPglite({ dir: join(dataDir, "store"), log });
await database.migrate();
const transport = createInlineTransport({ log });
const config = { ...parseConfig({ collector: { port: 0, grpc: { enabled: false } }, capture: { graceMs: 500 } }), dataDir };
const artifacts = createFileArtifactStore({ dir: join(dataDir, "artifacts") });
const capture = await startCapture(config, { database, transport, artifacts, log, now: Date.now });
process.stdout.write(`ready ${capture.port}\n`);
for await (const _ of process.stdin) {
  const { count } = await database.kysely
    .selectFrom("trajectories")
    .select((eb) => eb.fn.countAll<number>().as("count"))
    .executeTakeFirstOrThrow();
  process.stdout.write(`trajectories ${count}\n`);
}
await capture.close();
await database.close();
