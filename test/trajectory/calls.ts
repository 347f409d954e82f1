import type { Call, InferenceCall, StructureCall, ToolCall } from "../../src/trace/call.ts";
import type { Message, ToolDefinition } from "../../src/trace/message.ts";

/** Builders of canonical calls: times in milliseconds after a fixed start, ids as given. */
export const START_MS = 1_795_000_000_000;

export const say = (role: string, content: string): Message => ({ role, parts: [{ type: "text", content }] });
export const ask = (...calls: [id: string | undefined, name: string, args: unknown][]): Message => ({
  role: "assistant",
  parts: calls.map(([id, name, args]) => ({ type: "tool_call", ...(id === undefined ? {} : { id }), name, arguments: args })),
});
export const answer = (id: string | undefined, response: unknown): Message => ({
  role: "tool",
  parts: [{ type: "tool_call_response", ...(id === undefined ? {} : { id }), response }],
});

export const TOOLS: ToolDefinition[] = [
  { name: "lookup", description: "Looks an order up", parameters: { type: "object", properties: { order: { type: "string" } } } },
  { name: "refund", parameters: { type: "object", properties: { order: { type: "string" } } } },
];

function base(spanId: string, at: [startMs: number, endMs: number], more: Partial<Call>) {
  return {
    traceId: "t1",
    spanId,
    parentSpanId: "root",
    startNs: BigInt(START_MS + at[0]) * 1_000_000n,
    endNs: BigInt(START_MS + at[1]) * 1_000_000n,
    dialect: "genai",
    serviceName: "shop",
    agentName: null,
    conversationKey: null,
    subject: null,
    consent: null,
    damage: [],
    errorType: null,
    ...more,
  };
}

export function inference(
  spanId: string,
  at: [number, number],
  input: Message[],
  output: Message[],
  more: Partial<InferenceCall> = {},
): InferenceCall {
  return {
    kind: "inference",
    provider: "openai",
    requestModel: "shop-model",
    responseModel: null,
    responseId: null,
    tools: TOOLS,
    finishReasons: ["stop"],
    usage: { inputTokens: 100, outputTokens: 10 },
    sampling: {},
    adapterDigest: null,
    assignment: null,
    input,
    output,
    ...base(spanId, at, more),
    ...more,
  } as InferenceCall;
}

export function tool(
  spanId: string,
  at: [number, number],
  toolName: string,
  toolCallId: string | null,
  more: Partial<ToolCall> = {},
): ToolCall {
  return {
    kind: "tool",
    toolName,
    toolCallId,
    arguments: undefined,
    result: undefined,
    isError: false,
    ...base(spanId, at, more),
    ...more,
  } as ToolCall;
}

export function root(at: [number, number], more: Partial<StructureCall> = {}): StructureCall {
  return { kind: "structure", name: "invoke_agent shop", ...base("root", at, more), parentSpanId: null, ...more } as StructureCall;
}

const SYSTEM = say("system", "You help customers.");
const QUESTION = say("user", "Where is order A1?");
const LOOKUP = ask(["c1", "lookup", { order: "A1" }]);
const FOUND = answer("c1", { status: "lost" });
const DONE = say("assistant", "It was lost, I am sorry.");

/** One whole conversation: question, a tool call, its answer, the final text. */
export const SIMPLE = {
  system: SYSTEM,
  question: QUESTION,
  lookup: LOOKUP,
  found: FOUND,
  done: DONE,
  transcript: [SYSTEM, QUESTION, LOOKUP, FOUND, DONE],
  calls: [
    root([0, 5_000], { subject: "user-7" }),
    inference("i1", [100, 1_000], [SYSTEM, QUESTION], [LOOKUP], { responseId: "r1" }),
    tool("x1", [1_100, 1_500], "lookup", "c1"),
    inference("i2", [1_600, 2_500], [SYSTEM, QUESTION, LOOKUP, FOUND], [DONE], { responseId: "r2" }),
  ] as Call[],
};
