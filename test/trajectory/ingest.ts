import type { Agents } from "../../src/trajectory/match-agent.ts";
import type { Database } from "../../src/store/database.ts";
import type { Message } from "../../src/trace/message.ts";
import { storeRecord } from "../../src/trace/span-store.ts";
import { noteArrivals } from "../../src/trajectory/conversation-store.ts";
import { protobuf, spanJson, traceRequest, type Value } from "../fixtures/otlp/build.ts";
import { START_MS, TOOLS } from "./calls.ts";

/** One span as an SDK would send it. Times in milliseconds after START_MS; ids are short and padded to OTLP's length. */
export interface SentSpan {
  trace?: string;
  id: string;
  parent?: string;
  name?: string;
  at: [startMs: number, endMs: number];
  attributes?: Record<string, Value>;
}

const nanos = (ms: number) => String(BigInt(START_MS + ms) * 1_000_000n);
export const traceId = (trace = "1") => Buffer.from(trace).toString("hex").padStart(32, "0");
export const spanId = (id: string) => Buffer.from(id).toString("hex").padStart(16, "0");

/** Sends spans through storing and filing, in one transaction, as ingest does. */
export async function ingest(database: Database, agents: Agents, spans: readonly SentSpan[], receivedAtMs: number): Promise<void> {
  const json = spans.map((span) =>
    spanJson({
      traceId: traceId(span.trace),
      spanId: spanId(span.id),
      ...(span.parent === undefined ? {} : { parentSpanId: spanId(span.parent) }),
      ...(span.name === undefined ? {} : { name: span.name }),
      startTimeUnixNano: nanos(span.at[0]),
      endTimeUnixNano: nanos(span.at[1]),
      attributes: span.attributes ?? {},
    }),
  );
  const body = protobuf(traceRequest(json));
  await database.transaction(
    async (trx) => {
      const record = { tenant: "default", signal: "traces", body, encoding: "identity", redacted: true, receivedAtMs } as const;
      const stored = await storeRecord(trx, record, { redactionKey: new Uint8Array(32) });
      await noteArrivals(trx, { tenant: "default", ...stored, receivedAtMs, storedAtMs: receivedAtMs, agents });
    },
    { isolation: "read committed" },
  );
}

export function chat(id: string, at: [number, number], input: Message[], output: Message[], more: Partial<SentSpan> = {}): SentSpan {
  return {
    id,
    at,
    parent: "root",
    ...more,
    attributes: {
      "gen_ai.operation.name": "chat",
      "gen_ai.request.model": "shop-model",
      "gen_ai.input.messages": JSON.stringify(input),
      "gen_ai.output.messages": JSON.stringify(output),
      "gen_ai.tool.definitions": JSON.stringify(TOOLS.map((tool) => ({ type: "function", ...tool }))),
      ...more.attributes,
    },
  };
}

export const rootSpan = (at: [number, number], more: Partial<SentSpan> = {}): SentSpan => ({ id: "root", at, ...more });

export const toolSpan = (id: string, at: [number, number], name: string, callId: string): SentSpan => ({
  id,
  at,
  parent: "root",
  attributes: { "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name, "gen_ai.tool.call.id": callId },
});
