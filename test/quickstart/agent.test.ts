import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startShop, type RunningShop } from "../../deploy/quickstart/shop-server.ts";
import { systemPrompt, tools } from "../../deploy/quickstart/tools.ts";
import { completion, record, type Recorder, type Turn } from "./fake-model-server.ts";

interface OtlpSpan {
  name: string;
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  status: { code?: number };
  attributes: { key: string; value: { stringValue?: string; intValue?: number } }[];
}

const agentScript = fileURLToPath(new URL("../../deploy/quickstart/agent.ts", import.meta.url));
const scripts: Record<string, Turn[]> = {
  good: [
    { call: "lookup_order", args: { order_id: "A0001" } },
    { call: "refund_policy", args: { item: "mug" } },
    { call: "issue_refund", args: { order_id: "A0001" } },
    { say: "Done, order A0001 is refunded." },
  ],
  mistaken: [{ call: "lookup_order", args: { order: "A0001" } }, { say: "Sorry." }],
  endless: Array.from({ length: 9 }, (): Turn => ({ call: "lookup_order", args: { order_id: "A0001" } })),
};

let shop: RunningShop;
let model: Recorder;
let collector: Recorder;
let agent: ChildProcess;
let agentUrl: string;

beforeAll(async () => {
  shop = await startShop({ orders: [{ orderId: "A0001", item: "mug", status: "shipped", ageDays: 3, refunded: false }] });
  model = await record(({ headers, body }) => {
    const script = scripts[String(headers["x-session-id"])];
    const turn = script?.[(body["messages"] as unknown[]).filter((message) => (message as { role: string }).role === "assistant").length];
    if (!turn) return { status: 400, body: { error: { message: "no", type: "BadRequestError", param: null, code: 400 } } };
    return { status: 200, body: completion(turn, String(model.received.length)) };
  });
  collector = await record(() => ({ status: 200, body: {} }));
  agent = spawn(process.execPath, [agentScript], {
    stdio: ["ignore", "pipe", "inherit"],
    env: {
      PATH: process.env["PATH"],
      PORT: "0",
      SHOP_URL: shop.url,
      OPENAI_BASE_URL: `${model.url}/v1`,
      OPENAI_API_KEY: "none",
      OTEL_SERVICE_NAME: "shop-support",
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_METRICS_EXPORTER: "none",
      OTEL_LOGS_EXPORTER: "none",
      OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT: "true",
    },
  });
  const [line] = (await once(createInterface({ input: agent.stdout! }), "line")) as [string];
  agentUrl = (JSON.parse(line) as { url: string }).url;
});

afterAll(async () => {
  agent?.kill("SIGKILL");
  await Promise.all([shop?.close(), model?.close(), collector?.close()]);
});

describe("the agent", () => {
  test("serves a refund through the shop's real tools", async () => {
    expect(await talk("good")).toEqual({
      reply: "Done, order A0001 is refunded.",
      toolCalls: [
        { name: "lookup_order", arguments: '{"order_id":"A0001"}' },
        { name: "refund_policy", arguments: '{"item":"mug"}' },
        { name: "issue_refund", arguments: '{"order_id":"A0001"}' },
      ],
    });
    expect(shop.shop.counters().writes).toBe(1);
    const last = model.received.at(-1)!;
    expect(last.headers["x-session-id"]).toBe("good");
    expect(last.body).toMatchObject({ model: "shop-support", temperature: 0.6, tools });
    expect((last.body["messages"] as unknown[])[0]).toEqual({ role: "system", content: systemPrompt });
    expect((last.body["messages"] as unknown[]).at(-1)).toMatchObject({ role: "tool", content: '{"order_id":"A0001","refunded":true}' });
  });

  test("hands the shop's error to the model as a result", async () => {
    expect(await talk("mistaken")).toMatchObject({ reply: "Sorry." });
    expect((model.received.at(-1)!.body["messages"] as unknown[]).at(-1)).toMatchObject({
      role: "tool",
      content: '{"error":"invalid arguments"}',
    });
  });

  test("apologises when the model server fails, and stops an endless loop", async () => {
    expect(await talk("unknown")).toMatchObject({ reply: expect.stringContaining("Sorry"), error: "model_failed" });
    const calls = model.received.length;
    expect(await talk("endless")).toMatchObject({ error: "too_many_calls" });
    expect(model.received.length - calls).toBe(6);
  });

  test("refuses a request that is none", async () => {
    const response = await fetch(`${agentUrl}/conversations`, { method: "POST", body: "{}" });
    expect(response.status).toBe(400);
  });

  test("drains on SIGTERM and has then sent one trace per conversation, with content", async () => {
    agent.kill("SIGTERM");
    expect(await once(agent, "exit")).toEqual([0, null]);
    const spans = exportedSpans();
    const root = spans.find((span) => attribute(span, "gen_ai.conversation.id") === "good")!;
    expect([root.name, root.parentSpanId ?? "", attribute(root, "user.id")]).toEqual(["invoke_agent shop-support", "", "user-1"]);
    const children = spans.filter((span) => span.traceId === root.traceId && span !== root);
    const chats = children.filter((span) => attribute(span, "openinference.span.kind") === "LLM");
    expect(chats).toHaveLength(4);
    expect(chats.every((span) => span.parentSpanId === root.spanId)).toBe(true);
    const last = chats.find((span) => attribute(span, "llm.output_messages.0.message.content") !== undefined)!;
    expect(attribute(last, "llm.output_messages.0.message.content")).toBe("Done, order A0001 is refunded.");
    expect(attribute(last, "llm.input_messages.0.message.content")).toBe(systemPrompt);
    expect(attribute(last, "llm.input_messages.2.message.tool_calls.0.tool_call.function.arguments")).toBe('{"order_id":"A0001"}');
    expect(JSON.parse(attribute(last, "llm.invocation_parameters")!)).toMatchObject({ temperature: 0.6 });
    expect(JSON.parse(attribute(last, "llm.tools.2.tool.json_schema")!)).toEqual(tools[2]);
    const write = children.find((span) => span.name === "execute_tool issue_refund")!;
    expect(attribute(write, "gen_ai.tool.call.arguments")).toBe('{"order_id":"A0001"}');
    expect(attribute(write, "gen_ai.tool.call.result")).toBe('{"order_id":"A0001","refunded":true}');
    const failed = spans.find((span) => attribute(span, "gen_ai.conversation.id") === "unknown")!;
    expect([failed.status.code, attribute(failed, "error.type")]).toEqual([2, "model_failed"]);
  });
});

async function talk(conversationId: string): Promise<unknown> {
  const response = await fetch(`${agentUrl}/conversations`, {
    method: "POST",
    body: JSON.stringify({ conversationId, userId: "user-1", message: "refund A0001" }),
  });
  return response.json();
}

function exportedSpans(): OtlpSpan[] {
  return collector.received
    .filter(({ path }) => path === "/v1/traces")
    .flatMap(({ body }) => body["resourceSpans"] as { scopeSpans: { spans: OtlpSpan[] }[] }[])
    .flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans));
}

function attribute(span: OtlpSpan, key: string): string | undefined {
  return span.attributes.find((one) => one.key === key)?.value.stringValue;
}
