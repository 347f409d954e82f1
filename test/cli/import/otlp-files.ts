import { readFileSync } from "node:fs";
import { decodeLogs, decodeSpans } from "../../../src/trace/decode.ts";
import type { AttributeValue, Attributes } from "../../../src/trace/span.ts";
import type { Signal } from "../../../src/trace/wire.ts";
import { fixtureFile } from "../../fixtures/otlp/rewrite.ts";
import type { SDKS } from "../../fixtures/otlp/sdk/record.ts";

/** A recording's requests as OTLP/JSON, one request per span or log record, written from what was decoded: the words of the specification, not of our encoder. */
export function jsonRequests(sdk: (typeof SDKS)[number]): object[] {
  const spans = decodeSpans(recorded(sdk, "traces")).map(({ value: span }) => ({
    resourceSpans: [
      {
        resource: { attributes: attributesJson(span.resource) },
        scopeSpans: [
          {
            scope: { name: span.scope.name, version: span.scope.version },
            spans: [
              {
                traceId: span.traceId,
                spanId: span.spanId,
                parentSpanId: span.parentSpanId ?? "",
                name: span.name,
                kind: span.kind,
                startTimeUnixNano: String(span.startNs),
                endTimeUnixNano: String(span.endNs),
                attributes: attributesJson(span.attributes),
                events: span.events.map(({ name, timeNs, attributes }) => ({
                  name,
                  timeUnixNano: String(timeNs),
                  attributes: attributesJson(attributes),
                })),
                status: { code: span.statusCode, message: span.statusMessage },
              },
            ],
          },
        ],
      },
    ],
  }));
  const logs = decodeLogs(recorded(sdk, "logs")).map(({ value: log }) => ({
    resourceLogs: [
      {
        resource: { attributes: attributesJson(log.resource) },
        scopeLogs: [
          {
            scope: { name: log.scope.name, version: log.scope.version },
            logRecords: [
              {
                traceId: log.traceId ?? "",
                spanId: log.spanId ?? "",
                timeUnixNano: String(log.timeNs),
                eventName: log.eventName,
                body: valueJson(log.body),
                attributes: attributesJson(log.attributes),
              },
            ],
          },
        ],
      },
    ],
  }));
  return [...spans, ...logs];
}

export function recorded(sdk: (typeof SDKS)[number], signal: Signal): Uint8Array {
  return readFileSync(fixtureFile(sdk, `${signal}.bin`));
}

/** Behind four bytes of its length, as the Collector's file exporter writes a message. */
export function prefixed(message: Uint8Array): Uint8Array {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(message.length);
  return Buffer.concat([length, message]);
}

function attributesJson(attributes: Attributes): object[] {
  return Object.entries(attributes).map(([key, value]) => ({ key, value: valueJson(value) }));
}

function valueJson(value: AttributeValue): object {
  if (value === null) return {};
  if (typeof value === "string") return { stringValue: value };
  if (typeof value === "boolean") return { boolValue: value };
  if (typeof value === "bigint") return { intValue: String(value) };
  if (typeof value === "number") return Number.isInteger(value) ? { intValue: value } : { doubleValue: value };
  if (value instanceof Uint8Array) return { bytesValue: Buffer.from(value).toString("base64") };
  if (Array.isArray(value)) return { arrayValue: { values: value.map((item: AttributeValue) => valueJson(item)) } };
  return { kvlistValue: { values: attributesJson(value as Attributes) } };
}
