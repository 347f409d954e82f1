import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Database } from "../../src/store/database.ts";
import { redactText } from "../../src/trace/redact.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { apiWorld, REDACTION_KEY, type ApiWorld } from "./world.ts";

let database: Database;
let world: ApiWorld;

beforeAll(async () => {
  database = await memoryDatabase();
  world = await apiWorld(database);
});
afterAll(async () => {
  await world.close();
  await database.close();
});

describe("subjects", () => {
  const span = (trace: string) => ({ tenant: "default", trace_id: trace, span_id: "s", raw: Buffer.from(trace), received_at_ms: 1 });
  const seed = async (subject: string, trace: string) => {
    await database.kysely.insertInto("spans").values(span(trace)).execute();
    await database.kysely.insertInto("trace_subjects").values({ tenant: "default", subject, trace_id: trace }).execute();
    const conversation = { id: `c-${trace}`, tenant: "default", agent: "support", key_kind: "trace", key: trace, state: "open" };
    const times = { first_received_ms: 1, last_received_ms: 1, root_ended_ms: null, version: 1 };
    await database.kysely
      .insertInto("conversations")
      .values({ ...conversation, ...times } as never)
      .execute();
    await database.kysely
      .insertInto("conversation_traces")
      .values({ tenant: "default", trace_id: trace, conversation_id: `c-${trace}`, root_ended_ms: null })
      .execute();
  };

  it("are shown and erased by the key that the operator knows, whichever way it was stored", async () => {
    const address = await redactText("eva@example.com", REDACTION_KEY);
    await seed(address, "t-1");
    await seed("eva@example.com", "t-2");
    await seed("otto", "t-3");
    const path = `/v1/subjects/${encodeURIComponent("eva@example.com")}`;
    const before = await world.get(path);
    expect(before).toMatchObject({ status: 200, body: { isWholeKey: true, held: { spans: 2, conversations: 2 }, erasures: [] } });
    const erased = await world.delete(`${path}?actor=anna`);
    expect(erased).toMatchObject({
      status: 200,
      body: { state: "erased", isWholeKey: true, removed: { spans: 2 }, adapters: [], runs: [] },
    });
    expect(await world.get(path)).toMatchObject({
      body: { held: { spans: 0 }, subjectHash: erased.body.subjectHash, erasures: [{ actor: "anna", removed: { spans: 2 } }] },
    });
    expect((await database.kysely.selectFrom("spans").select("trace_id").execute()).map((row) => row.trace_id)).toEqual(["t-3"]);
  });

  it("of a tenant that is not there, or with a question nobody asked, are refused", async () => {
    expect((await world.delete("/v1/subjects/x?tenant=other")).status).toBe(404);
    expect((await world.delete("/v1/subjects/x?force=1")).status).toBe(400);
  });
});
