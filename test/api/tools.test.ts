import { afterAll, beforeAll, expect, test } from "vitest";
import { parseConfig } from "../../src/config.ts";
import { createRecordings } from "../../src/rollout/recordings.ts";
import type { Database } from "../../src/store/database.ts";
import { cli } from "../cli/terminal.ts";
import { conversation, lookup, notFound, type Step } from "../rollout/build.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { apiWorld, NOW_MS, type ApiWorld } from "./world.ts";

const config = parseConfig({
  agents: {
    support: {
      model: "support",
      baseModel: "base",
      tools: { lookup_order: { class: "read", freshnessMs: 60_000 }, policy: { class: "constant" } },
    },
  },
}).agents["support"];
const touch: Step = { tool: "touch", args: { order_id: "A1" }, result: { ok: true } };
const hostile: Step = { tool: "lookup_order", args: { order_id: "\u001b[31mA9" }, result: "Error: \u001b[2J\u0007gone\r\nname: evil" };

let database: Database;
let world: ApiWorld;
beforeAll(async () => {
  if (config === undefined) throw new Error("the config has its agent");
  database = await memoryDatabase();
  const lying = { name: "touch", annotations: { readOnlyHint: true } };
  const trajectories = ["a", "b", "c"].map((id, index) =>
    conversation(id, [lookup("A1", "new"), touch, lookup("A1", "old"), notFound("Z9"), ...(index === 0 ? [hostile] : [])], {
      startMs: 1_000_000 * index,
      tools: [lying],
    }),
  );
  const recordings = createRecordings({ trajectories, feedback: [], config, nowMs: NOW_MS });
  world = await apiWorld(database, { recordings: () => Promise.resolve(recordings) });
});
afterAll(async () => {
  await world.close();
  await database.close();
});

test("tools are listed with class, evidence, counts and the last call", async () => {
  const { status, body } = await world.get("/v1/tools?agent=support");
  expect(status).toBe(200);
  expect(body.tools).toMatchObject([
    {
      tool: "lookup_order",
      cls: "read",
      evidence: "config",
      calls: 10,
      errors: 3,
      errorRate: 0.3,
      freshnessMs: 60_000,
      lastCallAtMs: 2_004_000,
    },
    { tool: "policy", cls: "constant" },
    { tool: "touch", cls: "write", evidence: "demoted", calls: 3, errors: 0 },
  ]);
  expect(body.tools[0]).not.toHaveProperty("errorExamples");
});

test("one tool has examples, a schema and the config to paste", async () => {
  const { body } = await world.get("/v1/tools?agent=support&tool=lookup_order");
  expect(body).toMatchObject({
    errorExamples: [{ kind: "not_found" }, { kind: "not_found" }, { kind: "not_found" }, { kind: "state", shape: { by: "text" } }],
    resultSchema: { type: "object", required: ["item", "order_id", "refunded", "status"] },
    lastCallAtMs: 2_004_000,
  });
  expect(body.configSnippet).toMatch(/^lookup_order:\n {2}class: read/);
});

test.each([
  { path: "/v1/tools?agent=support&tool=nope", status: 404, says: "tool nope of agent support" },
  { path: "/v1/tools?agent=nobody", status: 404, says: "agent nobody" },
  { path: "/v1/tools", status: 400, says: "agent" },
  { path: "/v1/tools?agent=support&tol=x", status: 400, says: "tol" },
])("$path is a $status", async ({ path, status, says }) => {
  const answer = await world.get(path);
  expect(answer.status).toBe(status);
  expect(answer.body.error.message).toContain(says);
});

test("nightshift tools prints them, and --json is the API's", async () => {
  const { code, out } = await cli(["tools", "--agent", "support", "--url", world.url]);
  expect(code).toBe(0);
  expect(out.split("\n")[0]).toMatch(
    /^ *tool +class +depends on +roles +entities +volatile +calls +errors +p50 \/ p95 +fresh for +last call$/,
  );
  expect(out).toMatch(/touch +write \(demoted\) +everything/);
  // No state changes what a constant answers.
  expect(out).toMatch(/policy +constant \(config\) +nothing/);
  const json = await cli(["tools", "--agent", "support", "--url", world.url, "--json"]);
  expect(JSON.parse(json.out)).toEqual((await world.get("/v1/tools?agent=support")).body);
});

test("nightshift tools TOOL says what was demoted and why, and steers no terminal", async () => {
  const touched = await cli(["tools", "touch", "--agent", "support", "--url", world.url]);
  expect(touched.out).toContain("class: write, because answers of other reads changed around it (3 of 3)");
  const { code, out } = await cli(["tools", "lookup_order", "--agent", "support", "--url", world.url]);
  expect(code).toBe(0);
  // oxlint-disable-next-line no-control-regex -- control characters are the point
  expect(out).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
  expect(out).toMatch(/^ {2}\| name: evil$/m);
  expect(out).toMatch(/^ {2}class: read$/m);
});
