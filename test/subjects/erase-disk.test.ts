import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { silentLog } from "../../src/log.ts";
import { createPglite } from "../../src/store/pglite.ts";
import { listErasures } from "../../src/trajectory/erasure-log.ts";
import { loadGroups } from "../../src/training/iteration.ts";
import { filesWith, hexOf, subjectWorld, tablesWith } from "./world.ts";

const SECRET = "zebra-7731 fell into the Vltava";
const directory = mkdtempSync(join(tmpdir(), "nightshift-erase-disk-"));
let child: ChildProcess | null = null;
afterAll(() => {
  child?.kill("SIGKILL");
  rmSync(directory, { recursive: true, force: true });
});

test(
  "an erasure that was killed in the middle is finished at the next start, and then no byte below the data directory spells it",
  { timeout: 180_000 },
  async () => {
    child = fork(join(import.meta.dirname, "dying-eraser.ts"), [directory, SECRET], { execArgv: [] });
    const said: unknown[] = [];
    const middle = Promise.withResolvers<void>();
    child.on("message", (message) => {
      said.push(message);
      if (message === "in the middle") middle.resolve();
    });
    child.on("exit", (code) => middle.reject(new Error(`ended by itself with ${code}`)));
    await middle.promise;
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
    expect(said).toEqual(["seeded", "in the middle"]);
    // Rows are gone, bytes are not.
    expect(filesWith(directory, "zebra-7731").map((path) => path.split("/")[0])).toEqual(expect.arrayContaining(["artifacts", "store"]));

    const database = await createPglite({ dir: join(directory, "store"), log: silentLog() });
    await database.migrate();
    const world = await subjectWorld(database, directory);
    expect((await listErasures(database.kysely, {})).map(({ state }) => state)).toEqual(["started"]);
    expect(await tablesWith(database, "zebra-7731")).toEqual([]);
    expect(await world.eraser.finish(() => false)).toBe(1);
    expect((await listErasures(database.kysely, {})).map(({ state }) => state)).toEqual(["compacted"]);
    // While it is open, as a backup of the directory would see it, and after.
    for (const needle of ["zebra-7731", "xq-anneliese", hexOf("xq-anneliese", 32)]) expect(filesWith(directory, needle)).toEqual([]);
    expect((await loadGroups(database, "run-1")).map(({ iteration }) => iteration)).toEqual([2]);
    expect(await tablesWith(database, "my kettle sings")).toEqual(["messages", "scenarios", "spans"]);
    await world.close();
    await database.close();
    for (const needle of ["zebra-7731", "xq-anneliese", hexOf("xq-anneliese", 32)]) expect(filesWith(directory, needle)).toEqual([]);
  },
);
