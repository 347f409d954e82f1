import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { parseConfig, type AgentConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import { createLiveReads } from "../../src/rollout/live-reads.ts";
import { createRecordings } from "../../src/rollout/recordings.ts";
import type { Database } from "../../src/store/database.ts";
import { cli } from "../cli/terminal.ts";
import { conversation, lookup, policyOf, refund, shopConfigs } from "../rollout/build.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { apiWorld, NOW_MS, type ApiWorld } from "./world.ts";

const DAY = 86_400_000;
const TOKEN = "can-only-read";
/** Every call that reached the world, whatever its path. */
let received: { tool: string; order: unknown; authorization: string | undefined }[] = [];
/** Orders that somebody without a recording has refunded since. */
let moved = new Set<string>();
let isDown = false;
/** What the world says in place of every answer. */
let says: object | null = null;
const server = createServer((request, response) => {
  void (async () => {
    const { tool, arguments: args } = (await json(request)) as { tool: string; arguments: { order_id?: string } };
    received.push({ tool, order: args.order_id, authorization: request.headers.authorization });
    if (isDown) {
      response.writeHead(503).end();
      return;
    }
    if (says !== null) {
      response.end(JSON.stringify(says));
      return;
    }
    const id = args.order_id ?? "";
    response.end(JSON.stringify(lookup(id, "delivered", moved.has(id)).result));
  })();
});

// Ten conversations a day, back to forty days, each about an order of its own; some wrote.
const recorded = Array.from({ length: 100 }, (_, place) => {
  const id = `A${place}`;
  const steps = place % 10 === 0 ? [lookup(id), refund(id), policyOf("lamp")] : [lookup(id), policyOf("lamp")];
  return conversation(`c${place}`, steps, { startMs: NOW_MS - (1 + Math.floor(place / 10) * 4) * DAY });
});

let database: Database;
let worlds: ApiWorld[] = [];
let url = "";
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/live`;
  database = await memoryDatabase();
});
afterAll(async () => {
  for (const world of worlds) await world.close();
  await database.close();
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  [received, moved, isDown, says] = [[], new Set(), false, null];
});

/** An API over an agent that lists all of its tools, the write among them, as readable live. */
async function serving(change: { listed?: readonly string[]; lookup?: object } = {}): Promise<ApiWorld> {
  const listed = change.listed ?? ["lookup_order", "issue_refund", "refund_policy", "never_called"];
  const agent = {
    tools: { ...shopConfigs, lookup_order: { ...shopConfigs["lookup_order"], ...change.lookup } },
    replay: { liveReads: { tools: Object.fromEntries(listed.map((tool) => [tool, { url }])), apiKeyEnv: "KEY" } },
  };
  const config = parseConfig({ agents: { support: { model: "m", baseModel: "b", ...agent } } }).agents["support"] as AgentConfig;
  const { liveReads } = config.replay;
  if (liveReads === undefined) throw new Error("live reads are configured");
  const recordings = createRecordings({ trajectories: recorded, feedback: [], config, nowMs: NOW_MS });
  const world = await apiWorld(database, {
    agent: { ...agent },
    recordings: () => Promise.resolve(recordings),
    liveReads: createLiveReads(liveReads, { token: TOKEN, log: silentLog(), now: () => NOW_MS }),
  });
  worlds = [...worlds, world];
  return world;
}

describe("nightshift drift", () => {
  it("calls nothing but listed reads, with the read-only credential: no write, no other tool", async () => {
    const world = await serving();
    const { code, out } = await cli(["drift", "--agent", "support", "--url", world.url, "--json"]);
    expect(code).toBe(0);
    expect(received.length).toBe(90);
    expect(new Set(received.map(({ tool }) => tool))).toEqual(new Set(["lookup_order"]));
    expect(new Set(received.map(({ authorization }) => authorization))).toEqual(new Set([`Bearer ${TOKEN}`]));
    // Of the ten orders that a recorded call has refunded since, replay knows.
    expect(received.every(({ order }) => !String(order).endsWith("0"))).toBe(true);
    expect(JSON.parse(out)).toMatchObject({
      agent: "support",
      maxWrongShare: 0.2,
      tools: [{ tool: "lookup_order", asked: 90, changed: 0, failed: 0, verdict: "holds", advisedFreshnessMs: null }],
    });
  });

  it("tells the age from which recordings are wrong, exits 1 and says what to set", async () => {
    // Everything that is older than a week has changed: conversations 20 to 99 are 9 days and older.
    moved = new Set(Array.from({ length: 80 }, (_, place) => `A${place + 20}`));
    const world = await serving();
    const { code, out } = await cli(["drift", "--agent", "support", "--url", world.url]);
    expect(code).toBe(1);
    expect(out).toMatch(/^ *lookup_order +all +72 of 90 +80\.0 %, 7\d\.\d % to 8\d\.\d % +0$/m);
    expect(out).toMatch(/^ +72\.0 h to 168\.0 h ago +0 of 9 /m);
    expect(out).toContain("lookup_order: DRIFTS from 168.0 h on: more than 20.0 % changed, and recordings of any age are served");
    expect(out).toContain(`fix: tools.lookup_order.freshnessMs: ${7 * DAY}`);
    const fresh = await serving({ lookup: { freshnessMs: 6 * DAY } });
    const bounded = await cli(["drift", "--agent", "support", "--url", fresh.url]);
    expect(bounded.code).toBe(0);
    expect(bounded.out).toContain("lookup_order: 18 answers of recordings that are served (up to 144.0 h) are too few to say");
  });

  it("asks no more of a tool than it may", async () => {
    const world = await serving();
    await cli(["drift", "--agent", "support", "--url", world.url, "--per-tool", "7"]);
    expect(received).toHaveLength(7);
  });

  it("exits 1 where nothing was answered, and keeps the failures out of every share", async () => {
    isDown = true;
    const world = await serving();
    const { code, out } = await cli(["drift", "--agent", "support", "--url", world.url, "--per-tool", "5", "--json"]);
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject({ tools: [{ asked: 0, changed: 0, failed: 5, verdict: "unknown" }] });
  });

  it.each([{ error: "Too many requests" }, { error: "no such index" }])(
    "takes an error that no recording shows for a look that failed: %o",
    async (said) => {
      says = said;
      const world = await serving();
      const { out } = await cli(["drift", "--agent", "support", "--url", world.url, "--per-tool", "30", "--json"]);
      expect(JSON.parse(out)).toMatchObject({ tools: [{ asked: 0, changed: 0, failed: 30, verdict: "unknown" }] });
    },
  );

  it("is refused where nothing may be read live", async () => {
    const world = await serving({ listed: ["issue_refund"] });
    const { code, err } = await cli(["drift", "--agent", "support", "--url", world.url]);
    expect(code).toBe(1);
    expect(err).toContain("no tool on the list of live reads has the configured class read");
    const bare = await apiWorld(database);
    worlds = [...worlds, bare];
    expect(await bare.post("/v1/drift", { agent: "support" })).toMatchObject({
      status: 422,
      body: { error: { code: "drift_unmeasurable" } },
    });
    expect(received).toEqual([]);
  });

  it.each([
    ["--per-tool", "0"],
    ["--per-tool", "many"],
    ["--seed", "-1"],
  ])("refuses %s %s", async (option, value) => {
    const world = await serving();
    const { code } = await cli(["drift", "--agent", "support", "--url", world.url, option, value]);
    expect(code).toBeGreaterThan(0);
    expect(received).toEqual([]);
  });
});
