import { gzipSync } from "node:zlib";
import { PbfWriter } from "pbf";
import { mulberry } from "../canary/simulate.ts";

/** What the load generator sends: requests that an exporter would send, made from a seed. */
export interface PayloadSpec {
  spans: number;
  /** Bytes of message content per span; 0 makes a small span of the kind that HTTP instrumentation sends. */
  contentBytes: number;
  gzip: boolean;
  /** Of the requests, those in which every third span holds personal data. */
  personalShare: number;
}

export interface Payload {
  body: Buffer;
  spans: number;
  encoding: "identity" | "gzip";
}

/** A request as an exporter sends it. The same (spec, seed) is the same request. */
export function makePayload(spec: PayloadSpec, seed: number): Payload {
  const random = mulberry(seed);
  const isPersonal = random() < spec.personalShare;
  const spans = Array.from({ length: spec.spans }, (_, index) => span(spec, random, isPersonal && index % 3 === 0));
  const scope = message(field(1, field(1, Buffer.from("bench"))), ...spans.map((bytes) => field(2, bytes)));
  const resource = message(field(1, message(field(1, keyValue("service.name", "shop-agent")))), field(2, scope));
  const body = message(field(1, resource));
  return { body: spec.gzip ? gzipSync(body, { level: 6 }) : body, spans: spec.spans, encoding: spec.gzip ? "gzip" : "identity" };
}

function span(spec: PayloadSpec, random: () => number, isPersonal: boolean): Buffer {
  const attributes: [string, string][] =
    spec.contentBytes === 0
      ? [
          ["http.request.method", "GET"],
          ["url.path", `/orders/${Math.floor(random() * 1e6)}`],
          ["http.response.status_code", "200"],
          ["server.address", "shop.internal"],
        ]
      : [
          ["gen_ai.operation.name", "chat"],
          ["gen_ai.provider.name", "openai"],
          ["gen_ai.request.model", "shop-model"],
          ["gen_ai.response.model", "shop-model"],
          ["gen_ai.response.id", `chatcmpl-${hex(random, 12)}`],
          ["gen_ai.conversation.id", hex(random, 8)],
          ["gen_ai.input.messages", inputMessages(spec.contentBytes, random, isPersonal)],
          ["gen_ai.output.messages", JSON.stringify([{ role: "assistant", parts: [{ type: "text", content: sentence(random, 200) }] }])],
        ];
  return message(
    field(1, Buffer.from(hex(random, 16), "hex")),
    field(2, Buffer.from(hex(random, 8), "hex")),
    field(4, Buffer.from(hex(random, 8), "hex")),
    field(5, Buffer.from(spec.contentBytes === 0 ? "GET /orders" : "chat shop-model")),
    Buffer.from([0x30, 3]),
    fixed64(7, 1_790_000_000_000_000_000n + BigInt(Math.floor(random() * 1e9))),
    fixed64(8, 1_790_000_001_000_000_000n + BigInt(Math.floor(random() * 1e9))),
    ...attributes.map(([key, value]) => field(9, keyValue(key, value))),
  );
}

function inputMessages(bytes: number, random: () => number, isPersonal: boolean): string {
  const messages: object[] = [{ role: "system", parts: [{ type: "text", content: "You help the customers of a shop. Use the tools." }] }];
  const personal = ["my mail is jane.doe@example.org", "the card is 4111 1111 1111 1111", "call me at +49 30 1234567"];
  let size = 100;
  for (let turn = 0; size < bytes; turn++) {
    const content = `${sentence(random, 700)}${isPersonal && turn === 1 ? `, ${personal[Math.floor(random() * personal.length)]}` : ""}.`;
    messages.push({ role: turn % 2 === 0 ? "user" : "assistant", parts: [{ type: "text", content }] });
    size += content.length + 60;
  }
  return JSON.stringify(messages);
}

const WORDS =
  "the order was sent on monday and has not come yet could you look where it is or tell me how to return what I bought last week because size and colour are wrong thanks for your help we are sorry to hear that I will check it now a parcel left our house in spring at nine please wait while customer refund policy allows thirty days after delivery label printed store credit card holder".split(
    " ",
  );

/** Words in random order, with numbers here and there, of about `length` characters: text of this kind compresses to a third, as prose does. */
export function sentence(random: () => number, length: number): string {
  let text = "";
  while (text.length < length) {
    text += random() < 0.06 ? ` A${Math.floor(random() * 100_000)}` : ` ${WORDS[Math.floor(random() * WORDS.length)] ?? ""}`;
  }
  return text.trim();
}

export function hex(random: () => number, bytes: number): string {
  return Array.from({ length: bytes * 2 }, (_, index) => (index === 0 ? "a" : Math.floor(random() * 16).toString(16))).join("");
}

export function field(number: number, bytes: Uint8Array): Buffer {
  const writer = new PbfWriter();
  writer.writeBytesField(number, bytes);
  return Buffer.from(writer.finish());
}

function message(...fields: readonly Uint8Array[]): Buffer {
  return Buffer.concat(fields);
}

export function keyValue(key: string, value: string): Buffer {
  return message(field(1, Buffer.from(key)), field(2, field(1, Buffer.from(value))));
}

export function fixed64(number: number, value: bigint): Buffer {
  const bytes = Buffer.alloc(9);
  bytes[0] = number * 8 + 1;
  bytes.writeBigUInt64LE(value, 1);
  return bytes;
}
