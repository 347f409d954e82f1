import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { redactRequest } from "../../src/trace/redact-request.ts";
import { callsOf } from "../fixtures/otlp/golden.ts";
import { RECORDINGS } from "../fixtures/otlp/recordings.ts";
import { fixtureFile } from "../fixtures/otlp/rewrite.ts";

/** Of one length, so that the lengths around them in the request stay right. */
const SAID = "order A1234";
const PRIVATE = "ann@shop.io";
const KEY = Buffer.alloc(32, 7);

describe.each(Object.keys(RECORDINGS))("%s", (name) => {
  const planted = (kind: "traces.bin" | "logs.bin") =>
    Buffer.from(readFileSync(fixtureFile(name, kind)).toString("latin1").replaceAll(SAID, PRIVATE), "latin1");

  test("an address that a customer wrote is taken out wherever the SDK puts it, and the messages stay readable", async () => {
    const traces = await redactRequest(planted("traces.bin"), "traces", KEY);
    const logs = await redactRequest(planted("logs.bin"), "logs", KEY);
    expect(planted("traces.bin").toString("latin1") + planted("logs.bin").toString("latin1")).toContain(PRIVATE);
    expect(Buffer.from(traces).toString("latin1") + Buffer.from(logs).toString("latin1")).not.toContain(PRIVATE);
    const inferences = callsOf({ traces, logs }).filter((call) => call.kind === "inference");
    expect(inferences.flatMap(({ damage }) => damage)).toEqual([]);
    // Where a call is two spans, one of them has the messages.
    const told = inferences.filter(({ input }) => input.length > 0);
    expect(told.length).toBeGreaterThanOrEqual(3);
    for (const { input } of told) expect(JSON.stringify(input)).toMatch(/Where is <email_[a-z2-7]{8}>, and can I still return it\?/);
  });
});
