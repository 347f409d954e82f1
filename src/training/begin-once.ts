import { createHash, randomUUID } from "node:crypto";
import { nightshiftError } from "../errors.ts";
import type { RunStore } from "./run-store.ts";

/** A run that was asked for. */
export interface AskedRun {
  runId: string;
  /** Whether it begins now; else it was begun for the same key, and may have ended. */
  isNew: boolean;
}

/**
 * Begins the one run that a key stands for. A schedule asks until it is answered, and an answer that is lost on its way must not cost a second night: whoever asks again with the same key is
 * told of the run that there is, however it ended.
 * @param key null: another run every time
 * @param begin Checks whether it may begin, and registers it. Its errors are this function's.
 * @throws NightshiftError `run_in_progress` before `begin` is asked: a night under way has taken its room, and lack of room would be the wrong thing to tell
 */
export async function beginOnce(
  { tenant, agent, key }: { tenant: string; agent: string; key: string | null },
  begin: (runId: string) => Promise<void>,
  { runs }: { runs: Pick<RunStore, "get" | "list"> },
): Promise<AskedRun> {
  const runId = key === null ? randomUUID() : runIdOf([tenant, agent, key]);
  if (key !== null && (await runs.get(runId)) !== null) return { runId, isNew: false };
  const [running] = await runs.list({ tenant, agent, state: "running", limit: 1 });
  if (running !== undefined) throw nightshiftError("run_in_progress", { agent, run: running.id });
  await begin(runId);
  return { runId, isNew: true };
}

/** A UUID of version 8, which is made by rules of one's own (RFC 9562, 5.8): the beginning of a hash. */
function runIdOf(parts: readonly string[]): string {
  const bytes = createHash("sha256").update(JSON.stringify(parts)).digest().subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
