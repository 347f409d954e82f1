import { afterAll, beforeAll, expect, test } from "vitest";
import type { Database } from "../../src/store/database.ts";
import { saveTrajectories } from "../../src/trajectory/save-trajectories.ts";
import { loadTrajectory } from "../../src/trajectory/trajectory-store.ts";
import type { Trajectory } from "../../src/trajectory/trajectory.ts";
import { conversation } from "../rollout/build.ts";
import { memoryDatabase } from "../store/memory-database.ts";

let database: Database;
beforeAll(async () => {
  database = await memoryDatabase();
});
afterAll(() => database.close());

const save = (one: Trajectory) => database.transaction((trx) => saveTrajectories(trx, [one.conversationId], [one]));
const hashesOf = async (id: string) =>
  (await database.kysely.selectFrom("trajectories").select(["version", "message_hashes"]).where("id", "=", id).execute()).map(
    ({ version, message_hashes: hashes }) => ({ version, hashes }),
  );

test("a trajectory that says the same keeps the messages that it was stored with, though they are written in another order now", async () => {
  const step = (args: object) => conversation("c", [{ tool: "book", args, result: { ok: true } }], { says: "book me a room" });
  const first = step({ room: 7, nights: 2 });
  const [created] = await save(first);
  const [stored] = await hashesOf("c");
  expect(stored).toMatchObject({ version: 1, hashes: { length: 5 } });

  // The same arguments; as JSON text, and so as a stored message, they are not.
  const again = { ...step({ nights: 2, room: 7 }), verdict: { trainable: false, reasons: ["no_consent"] as never } };
  expect(JSON.stringify(again.messages)).not.toBe(JSON.stringify(first.messages));
  expect(await save(again)).toEqual([]);
  expect(await hashesOf("c")).toEqual([stored]);
  // Every message is there still: a transcript that has lost one is not loaded.
  const loaded = await loadTrajectory(database.kysely, "c");
  expect(loaded?.messages).toEqual(created?.messages);
  expect(loaded?.verdict.trainable).toBe(false);
  const rows = await database.kysely.selectFrom("messages").select("hash").execute();
  expect(rows.map(({ hash }) => hash).toSorted()).toEqual([...new Set(stored?.hashes)].toSorted());

  // Other arguments are another version, with messages of its own and those that it shares.
  await save(step({ room: 8, nights: 2 }));
  const versions = await hashesOf("c");
  expect(versions).toMatchObject([{ version: 1, hashes: stored?.hashes }, { version: 2 }]);
  expect(versions[1]?.hashes.filter((hash) => stored?.hashes.includes(hash))).toHaveLength(4);
});
