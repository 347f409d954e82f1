import { createHash } from "node:crypto";
import { protobuf, spanJson, traceRequest } from "../../fixtures/otlp/build.ts";

export interface LargeSpans {
  traceId: string;
  /** In their order. */
  spanIds: string[];
  /** Of their attribute `text`. */
  texts: string[];
  request: Uint8Array<ArrayBuffer>;
}

/** A request of `count` spans with a text of `bytes` each, half of which repeats and half does not, so that a codec has both. */
export function largeSpans(seed: string, options: { count: number; bytes: number }): LargeSpans {
  const traceId = hex(seed, 32);
  const texts = Array.from({ length: options.count }, (_, index) => {
    const noise = Array.from({ length: options.bytes / 128 }, (__, block) => hex(`${seed}|${index}|${block}`, 64)).join("");
    return noise.padEnd(options.bytes, "an order and another order ");
  });
  const spans = texts.map((text, index) => ({ traceId, spanId: hex(`${seed}|${index}`, 16), attributes: { text } }));
  const request = new Uint8Array(protobuf(traceRequest(spans.map(spanJson))));
  return { traceId, spanIds: spans.map(({ spanId }) => spanId).toSorted(), texts, request };
}

function hex(seed: string, length: number): string {
  return createHash("sha256").update(seed).digest("hex").slice(0, length);
}
