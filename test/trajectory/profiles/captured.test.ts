import { describe, expect, test } from "vitest";
import type { InferenceCall } from "../../../src/trace/call.ts";
import { canonicalTools } from "../../../src/trace/canonical.ts";
import { decodeSpans } from "../../../src/trace/decode.ts";
import { normalise } from "../../../src/trace/normalise.ts";
import { toolDefinitions } from "../../../src/serving/gateway/openai-chat.ts";
import { assemble } from "../../../src/trajectory/assemble.ts";
import { trajectorySchema } from "../../../src/trajectory/trajectory.ts";
import { protobuf, spanJson, traceRequest } from "../../fixtures/otlp/build.ts";
import { root, SIMPLE, tool } from "../calls.ts";

const annotations = { readOnlyHint: true, destructiveHint: false };

describe("MCP annotations reach the definition", () => {
  test.each([
    { where: "as the protocol has them", definition: { name: "get", inputSchema: {}, annotations: { title: "Get", ...annotations } } },
    { where: "beside the nested definition", definition: { type: "function", function: { name: "get" }, annotations } },
    { where: "in the nested definition", definition: { type: "function", function: { name: "get", annotations } } },
    { where: "under metadata", definition: { name: "get", metadata: { meta: null, annotations } } },
  ])("$where", ({ definition }) => {
    expect(canonicalTools([definition])[0]?.annotations).toEqual(annotations);
    expect(toolDefinitions([definition])?.[0]?.annotations).toEqual(annotations);
    expect(trajectorySchema.shape.tools.parse(canonicalTools([definition]))?.[0]?.annotations).toEqual(annotations);
  });

  test.each([{ annotations: { readOnlyHint: "yes" } }, { annotations: "read only" }, { annotations: null }, {}])(
    "but nothing else: %j",
    (odd) => {
      expect(canonicalTools([{ name: "get", ...odd }])).toEqual([{ name: "get" }]);
    },
  );

  test("from Pydantic AI's own attribute, beside the conventions' definitions", () => {
    const parameters = {
      function_tools: [{ name: "get", parameters_json_schema: { type: "object" }, metadata: { annotations } }, { name: "put" }],
    };
    const span = spanJson({
      attributes: {
        "gen_ai.operation.name": "chat",
        "gen_ai.tool.definitions": JSON.stringify([
          { type: "function", name: "get", parameters: { type: "object" } },
          { type: "function", name: "put" },
        ]),
        model_request_parameters: JSON.stringify(parameters),
      },
    });
    const decoded = decodeSpans(protobuf(traceRequest([span])))[0]?.value;
    if (decoded === undefined) throw new Error("one span");
    const call = normalise({ ...decoded, scope: { ...decoded.scope, name: "pydantic-ai" } }, []) as InferenceCall;
    expect(call.tools).toEqual([{ name: "get", parameters: { type: "object" }, annotations }, { name: "put" }]);
    expect((normalise(decoded, []) as InferenceCall).tools?.[0]).not.toHaveProperty("annotations");
  });
});

describe("HTTP verbs below a tool's span", () => {
  const [, first, execution, last] = SIMPLE.calls;
  const request = (spanId: string, parentSpanId: string, httpMethod: string) => ({
    ...root([1_200, 1_300]),
    spanId,
    parentSpanId,
    httpMethod,
  });
  const methodsOf = (calls: readonly object[]): unknown => {
    const all = [root([0, 5_000], { subject: "user-7" }), first, last, ...calls] as Parameters<typeof assemble>[1];
    return assemble({ id: "c", key: "k", tenant: "default", agent: "shop" }, all, {})[0]?.trajectory.toolTimings[0]?.httpMethods;
  };

  test("are told with its timing, each once, however deep", () => {
    const between = { ...root([1_150, 1_400]), spanId: "b", parentSpanId: "x1" };
    expect(methodsOf([execution!, between, request("h1", "b", "POST"), request("h2", "x1", "GET"), request("h3", "b", "GET")])).toEqual([
      "GET",
      "POST",
    ]);
  });

  test("count for the tool around a tool", () => {
    const inner = tool("x2", [1_150, 1_450], "client", null, { parentSpanId: "x1" });
    expect(methodsOf([execution!, inner, request("h1", "x2", "DELETE")])).toEqual(["DELETE"]);
  });

  test("elsewhere are nobody's, and parents in a circle end", () => {
    expect(methodsOf([execution!, request("h1", "root", "GET")])).toBeUndefined();
    expect(methodsOf([{ ...execution!, parentSpanId: "h1" }, request("h1", "x1", "GET")])).toEqual(["GET"]);
  });

  test.each([
    { attributes: { "http.request.method": "get" }, method: "GET" },
    { attributes: { "http.method": "PUT" }, method: "PUT" },
    { attributes: { "http.request.method": "G\nET" }, method: undefined },
    { attributes: {}, method: undefined },
  ])("are read from $attributes", ({ attributes, method }) => {
    const span = decodeSpans(protobuf(traceRequest([spanJson({ attributes })])))[0]?.value;
    expect(span === undefined ? null : normalise(span, []).httpMethod).toBe(method);
  });
});
