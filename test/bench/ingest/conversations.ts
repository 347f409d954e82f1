import { gzipSync } from "node:zlib";
import { mulberry } from "../canary/simulate.ts";
import { field, fixed64, hex, keyValue, sentence } from "../collector/payload.ts";

/** Model calls of one conversation; each repeats what was said before. */
const CALLS = 8;
/** Conversations of one request: 64 model calls, and a root span each. */
const CONVERSATIONS = 8;
export const LLM_SPANS_PER_REQUEST = CALLS * CONVERSATIONS;
export const CONVERSATIONS_PER_REQUEST = CONVERSATIONS;

/** The parts of a message of about this many characters, so that a model call's span has 8 KB on average. */
const TEXT_LENGTH = 820;

/** An export request of whole conversations, gzip. Every seed has conversations of its own. */
export function conversationsRequest(seed: number): Buffer {
  const random = mulberry(seed);
  const spans = Array.from({ length: CONVERSATIONS }, () => conversation(random)).flat();
  const scope = Buffer.concat([field(1, field(1, Buffer.from("bench"))), ...spans.map((bytes) => field(2, bytes))]);
  const resource = Buffer.concat([field(1, field(1, keyValue("service.name", "shop-agent"))), field(2, scope)]);
  return gzipSync(field(1, resource), { level: 6 });
}

function conversation(random: () => number): Buffer[] {
  const [trace, root] = [hex(random, 16), hex(random, 8)];
  const startNs = 1_790_000_000_000_000_000n + BigInt(Math.floor(random() * 1e15));
  const messages: object[] = [{ role: "system", parts: [{ type: "text", content: sentence(random, 600) }] }];
  const calls = Array.from({ length: CALLS }, (_, turn) => {
    messages.push({ role: "user", parts: [{ type: "text", content: sentence(random, TEXT_LENGTH) }] });
    const answer = { role: "assistant", parts: [{ type: "text", content: sentence(random, TEXT_LENGTH) }] };
    const attributes: [string, string][] = [
      ["gen_ai.operation.name", "chat"],
      ["gen_ai.provider.name", "openai"],
      ["gen_ai.request.model", "shop-model"],
      ["gen_ai.response.model", "shop-model"],
      ["gen_ai.response.id", `chatcmpl-${hex(random, 12)}`],
      ["gen_ai.conversation.id", trace],
      ["gen_ai.input.messages", JSON.stringify(messages)],
      ["gen_ai.output.messages", JSON.stringify([answer])],
    ];
    messages.push(answer);
    return span({
      trace,
      id: hex(random, 8),
      parent: root,
      name: "chat shop-model",
      kind: 3,
      startNs: startNs + BigInt(turn) * 2_000_000_000n,
      attributes,
    });
  });
  return [
    ...calls,
    span({ trace, id: root, parent: null, name: "answer customer", kind: 1, startNs, attributes: [["user.id", hex(random, 4)]] }),
  ];
}

interface SpanFacts {
  trace: string;
  id: string;
  parent: string | null;
  name: string;
  kind: number;
  startNs: bigint;
  attributes: readonly [string, string][];
}

function span({ trace, id, parent, name, kind, startNs, attributes }: SpanFacts): Buffer {
  return Buffer.concat([
    field(1, Buffer.from(trace, "hex")),
    field(2, Buffer.from(id, "hex")),
    ...(parent === null ? [] : [field(4, Buffer.from(parent, "hex"))]),
    field(5, Buffer.from(name)),
    Buffer.from([0x30, kind]),
    fixed64(7, startNs),
    fixed64(8, startNs + 1_000_000_000n),
    ...attributes.map(([key, value]) => field(9, keyValue(key, value))),
  ]);
}
