import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { silentLog } from "../../src/log.ts";
import { createRetention } from "../../src/training/retention.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { START_MS, subjectWorld } from "./world.ts";

const DAY_MS = 86_400_000;

test("a retention that is new, or shorter than before, waits a day; a longer one is in force at once; one part that fails holds back no other", async () => {
  const noticed = await memoryDatabase();
  const directory = mkdtempSync(join(tmpdir(), "nightshift-notice-"));
  const other = await subjectWorld(noticed, directory);
  const { artifacts, runFiles, clock } = other;
  const sweepAt = async (day: number, capturedDays: number) => {
    clock.nowMs = START_MS + day * DAY_MS;
    const deps = { database: noticed, artifacts, runFiles, sweepCache: null, log: silentLog(), now: () => clock.nowMs };
    await createRetention({ default: { capturedDays, nightsDays: 1_000 } }, deps).sweep();
    return (await noticed.kysely.selectFrom("conversations").select("key").orderBy("key").execute()).map(({ key }) => key);
  };
  await other.talk("first", "one");
  clock.nowMs = START_MS + 20 * DAY_MS;
  await other.talk("second", "two");
  // The first start of a version that has retention finds a whole past.
  expect(await sweepAt(100, 90)).toEqual(["chat-first", "chat-second"]);
  expect(await sweepAt(100.9, 90)).toEqual(["chat-first", "chat-second"]);
  expect(await sweepAt(101, 90)).toEqual(["chat-second"]);
  // Nine instead of ninety: a day to see it.
  expect(await sweepAt(102, 9)).toEqual(["chat-second"]);
  expect(await sweepAt(102.5, 90)).toEqual(["chat-second"]);
  expect(await sweepAt(104, 90)).toEqual(["chat-second"]);
  expect(await sweepAt(105, 9)).toEqual(["chat-second"]);
  runFiles.list = () => Promise.reject(new Error("the disk is away"));
  await expect(sweepAt(1_106, 9)).rejects.toThrow("the disk is away");
  expect(await noticed.kysely.selectFrom("conversations").selectAll().execute()).toEqual([]);
  await other.close();
  await noticed.close();
  rmSync(directory, { recursive: true });
});
