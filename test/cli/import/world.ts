import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startCapture } from "../../../src/app/capture.ts";
import { createFileArtifactStore } from "../../../src/artifact/file.ts";
import { parseConfig } from "../../../src/config.ts";
import { silentLog } from "../../../src/log.ts";
import type { Database } from "../../../src/store/database.ts";
import type { Tables } from "../../../src/store/tables.ts";
import { listTrajectories, loadTrajectory } from "../../../src/trajectory/trajectory-store.ts";
import type { Trajectory } from "../../../src/trajectory/trajectory.ts";
import { createInlineTransport } from "../../../src/transport/inline.ts";
import { memoryDatabase } from "../../store/memory-database.ts";
import { cli } from "../terminal.ts";

/** A listening collector with everything behind it, and a directory for files. */
export interface ImportWorld {
  url: string;
  database: Database;
  /** Writes a file and answers its path. */
  file(name: string, content: string | Uint8Array): string;
  /** `nightshift import …` against this collector. */
  run(args: readonly string[]): Promise<{ code: number; out: string; err: string }>;
  /** Assembles everything and answers the live trajectories with their messages, ordered by conversation. */
  trajectories(): Promise<Trajectory[]>;
  count(table: keyof Tables): Promise<number>;
  clear(): Promise<void>;
  close(): Promise<void>;
}

export async function importWorld(): Promise<ImportWorld> {
  const dir = mkdtempSync(join(tmpdir(), "nightshift-import-"));
  const database = await memoryDatabase();
  const log = silentLog();
  const clock = { ms: 1_800_000_000_000 };
  const config = parseConfig({
    collector: { port: 0 },
    capture: { sweepMs: 3_600_000 },
    agents: { support: { model: "m", baseModel: "b" } },
    tenants: { default: { trainingConsent: "deny" } },
  });
  const capture = await startCapture(
    { ...config, dataDir: dir },
    {
      database,
      transport: createInlineTransport({ log }),
      artifacts: createFileArtifactStore({ dir: join(dir, "artifacts") }),
      log,
      now: () => clock.ms,
    },
  );
  const url = `http://127.0.0.1:${capture.port}`;
  let files = 0;
  return {
    url,
    database,
    file(name, content) {
      const path = join(dir, `${files++}-${name}`);
      writeFileSync(path, content);
      return path;
    },
    run: (args) => cli(["import", "--endpoint", url, ...args]),
    async trajectories() {
      clock.ms += config.capture.maxAgeMs;
      await capture.sweep();
      const { items } = await listTrajectories(database.kysely, { tenant: "default", limit: 1_000 });
      const whole = await Promise.all(items.map(({ id }) => loadTrajectory(database.kysely, id)));
      return whole.filter((one) => one !== null).toSorted((a, b) => (a.id < b.id ? -1 : 1));
    },
    async count(table) {
      const { n } = await database.kysely
        .selectFrom(table)
        .select(({ fn }) => fn.countAll<number>().as("n"))
        .executeTakeFirstOrThrow();
      return n;
    },
    async clear() {
      const tables = [
        "spans",
        "log_events",
        "conversations",
        "conversation_traces",
        "messages",
        "trajectories",
        "tool_schemas",
        "feedback",
      ] as const;
      for (const table of tables) await database.kysely.deleteFrom(table).execute();
    },
    async close() {
      await capture.close();
      await database.close();
      rmSync(dir, { recursive: true });
    },
  };
}
