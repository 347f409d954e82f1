import { describe, expect, test } from "vitest";
import { ASSIGNMENT_SPAN } from "../../src/telemetry.ts";
import { completion, sendJson, startUpstream } from "./fake-upstream.ts";
import { experiment, startGateway } from "./gateway-fixture.ts";

const TRACE_ID = "0af7651916cd43dd8448eb211c80319c";
const CALLER_SPAN_ID = "b7ad6b7169203331";

describe("the announcement of an assignment", () => {
  const announcements = async (weight: number | null, headers: Record<string, string>[]) => {
    const upstream = await startUpstream((_request, response) => sendJson(response, completion("shop-model")));
    await using gateway = await startGateway({ upstreams: [upstream], ...(weight === null ? {} : { routes: experiment(weight) }) });
    for (const each of headers) await (await gateway.chat("trajectory-1", {}, each)).arrayBuffer();
    const spans = (await gateway.spans()).filter(({ name }) => name === ASSIGNMENT_SPAN);
    await upstream.close();
    return spans;
  };

  test("is a span without length in the caller's trace, once per key", async () => {
    const traceparent = `00-${TRACE_ID}-${CALLER_SPAN_ID}-01`;
    const [span, ...others] = await announcements(1, [{ traceparent, "x-session-id": "session-1" }, { traceparent }]);
    expect(others).toEqual([]);
    expect(span?.traceId).toBe(TRACE_ID);
    expect(span?.startNs).toBe(span?.endNs);
    expect(span?.attributes).toMatchObject({
      "gen_ai.conversation.id": "session-1",
      "nightshift.assignment.key": "trajectory-1",
      "nightshift.assignment.arm": "candidate",
      "nightshift.assignment.probability": 1,
    });
  });

  test("is left out where nothing says which conversation it is, and outside an experiment", async () => {
    expect(await announcements(1, [{}])).toEqual([]);
    expect(await announcements(null, [{ "x-session-id": "session-1" }])).toEqual([]);
  });
});
