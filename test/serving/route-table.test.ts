import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { silentLog } from "../../src/log.ts";
import { createRouteTable } from "../../src/serving/route-table.ts";
import { experiment } from "./gateway-fixture.ts";

let directory = "";
let nowMs = 0;
const deps = { monotonicMs: () => nowMs, log: silentLog() };
const open = (file?: string) => createRouteTable({ leaseMs: 1_000, file }, deps);

beforeEach(async () => {
  nowMs = 0;
  directory = await mkdtemp(join(tmpdir(), "nightshift-routes-"));
});
afterEach(() => rm(directory, { recursive: true }));

describe("what is received", () => {
  test.each([
    { what: "a newer version", second: { version: 2 }, result: "applied", weight: 0.5 },
    { what: "the same version", second: {}, result: "renewed", weight: 0.1 },
    { what: "an older version", second: { version: 0 }, result: "ignored", weight: 0.1 },
    { what: "an older generation with a newer version", second: { version: 2, generation: 0 }, result: "ignored", weight: 0.1 },
    { what: "a newer generation with the same version", second: { generation: 2 }, result: "applied", weight: 0.5 },
    { what: "a newer generation with an older version", second: { version: 0, generation: 2 }, result: "ignored", weight: 0.1 },
  ])("$what is $result", async ({ second, result, weight }) => {
    const table = await open();
    expect(table.receive(experiment(0.1))).toBe("applied");
    expect(table.receive(experiment(0.5, second))).toBe(result);
    expect(table.effective("shop")?.weight).toBe(weight);
  });

  test("of one agent says nothing about another", async () => {
    const table = await open();
    table.receive(experiment(0.1));
    expect(table.effective("other")).toBeNull();
    expect(table.version("other")).toBe(0);
  });
});

describe("the lease", () => {
  test("says once that it lapsed, and again after it was held again", async () => {
    const lapsed: string[] = [];
    const table = await createRouteTable({ leaseMs: 1_000 }, { ...deps, onLapse: (agent) => lapsed.push(agent) });
    const look = (atMs: number): void => {
      nowMs = atMs;
      table.effective("shop");
    };
    table.receive(experiment(0.1));
    look(999);
    expect(lapsed).toEqual([]);
    look(1_000);
    look(1_500);
    expect(lapsed).toEqual(["shop"]);
    table.confirm("shop", 1);
    look(1_600);
    look(2_500);
    expect(lapsed).toEqual(["shop", "shop"]);
  });

  test("takes the candidate off when the control plane was silent for leaseMs, and stable stays", async () => {
    const table = await open();
    table.receive(experiment(0.5));
    nowMs = 999;
    expect(table.effective("shop")?.weight).toBe(0.5);
    nowMs = 1_000;
    expect(table.effective("shop")).toMatchObject({ weight: 0, stable: experiment(0).stable });
  });

  test.each([
    {
      what: "routes that are known already",
      renew: (table: Awaited<ReturnType<typeof open>>) => table.receive(experiment(0.5)),
      held: true,
    },
    { what: "a confirmation of this version", renew: (table: Awaited<ReturnType<typeof open>>) => table.confirm("shop", 1), held: true },
    {
      what: "a confirmation of another version",
      renew: (table: Awaited<ReturnType<typeof open>>) => table.confirm("shop", 2),
      held: false,
    },
    {
      what: "a control plane that was replaced",
      renew: (table: Awaited<ReturnType<typeof open>>) => table.receive(experiment(1, { generation: 0 })),
      held: false,
    },
  ])("after $what: renewed = $held", async ({ renew, held }) => {
    const table = await open();
    table.receive(experiment(0.5));
    nowMs = 900;
    renew(table);
    nowMs = 1_500;
    expect(table.effective("shop")?.weight).toBe(held ? 0.5 : 0);
  });
});

describe("the file", () => {
  test("gives a restarted gateway its routes, with the candidate at 0 until the control plane answers", async () => {
    const file = join(directory, "deep", "routes.json");
    const before = await open(file);
    before.receive(experiment(0.1));
    before.receive(experiment(0.5, { version: 2 }));
    await before.flush();
    const after = await open(file);
    expect(after.effective("shop")).toMatchObject({ version: 2, weight: 0, stable: experiment(0).stable, salt: "salt-1" });
    after.receive(experiment(0.5, { version: 2 }));
    expect(after.effective("shop")?.weight).toBe(0.5);
  });

  test.each(["", "{", "null", `{"routes":[{"agent":"shop"}]}`])("that reads %j counts as none", async (text) => {
    const file = join(directory, "routes.json");
    await writeFile(file, text);
    const table = await open(file);
    expect(table.effective("shop")).toBeNull();
    table.receive(experiment(0.1));
    await table.flush();
    expect(JSON.parse(await readFile(file, "utf8"))).toEqual({ routes: [experiment(0.1)] });
  });

  test("that cannot be written takes nothing from the table in memory", async () => {
    await writeFile(join(directory, "blocker"), "");
    const table = await open(join(directory, "blocker", "routes.json"));
    table.receive(experiment(0.1));
    await table.flush();
    expect(table.effective("shop")?.weight).toBe(0.1);
  });
});
