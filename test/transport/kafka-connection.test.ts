import { once } from "node:events";
import { createRequire } from "node:module";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { mendConnection } from "../../src/transport/kafka/broken-connection.ts";
import { mendRequestQueue } from "../../src/transport/kafka/request-queue.ts";

interface Connection {
  connect(): Promise<unknown>;
  disconnect(): Promise<unknown>;
  send(request: { request: unknown; response: unknown }): Promise<string>;
}

const load = createRequire(import.meta.url);
const KafkajsConnection = load("kafkajs/src/network/connection") as new (options: unknown) => Connection;
const socketFactory = (load("kafkajs/src/network/socketFactory") as () => unknown)();
const Encoder = load("kafkajs/src/protocol/encoder") as new () => unknown;

const quiet = { debug() {}, info() {}, warn() {}, error() {}, namespace: () => quiet };
const ask = {
  request: { apiKey: 3, apiName: "Metadata", apiVersion: 0, encode: () => Promise.resolve(new Encoder()) },
  response: {
    decode: (payload: Buffer) => Promise.resolve({ text: payload.toString(), clientSideThrottleTime: 0 }),
    parse: ({ text }: { text: string }) => Promise.resolve(text),
  },
};

/** What a broker answers: length, the request's correlation id, the text. */
function answer(request: Buffer, text: string): Buffer {
  const head = Buffer.alloc(8);
  head.writeInt32BE(4 + text.length, 0);
  head.writeInt32BE(request.readInt32BE(8), 4);
  return Buffer.concat([head, Buffer.from(text)]);
}

let server: Server;
let connection: Connection;
let onRequest: (request: Buffer, socket: Socket) => void;
beforeEach(async () => {
  mendRequestQueue();
  mendConnection();
  server = createServer((socket) => socket.on("error", () => {}).on("data", (request) => onRequest(request, socket)));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const times = { requestTimeout: 200, connectionTimeout: 1_000 };
  connection = new KafkajsConnection({ host: "127.0.0.1", port, logger: quiet, socketFactory, ...times });
});
afterEach(async () => {
  await connection.disconnect();
  server.close();
});

test.each([1, 4, 9, 15])("an answer that breaks off after %i bytes is not read on in the next connection", async (bytes) => {
  onRequest = (request, socket) =>
    socket.write(answer(request, "the one that breaks off").subarray(0, bytes), () => socket.resetAndDestroy());
  await connection.connect();
  await expect(connection.send(ask)).rejects.toThrow("Connection error");
  onRequest = (request, socket) => void socket.write(answer(request, "whole"));
  await connection.connect();
  expect(await connection.send(ask)).toBe("whole");
});

test("two that connect at once share one connection", async () => {
  const made = vi.fn<() => void>();
  server.on("connection", made);
  onRequest = (request, socket) => void socket.write(answer(request, "whole"));
  await Promise.all([connection.connect(), connection.connect()]);
  expect(await connection.send(ask)).toBe("whole");
  expect(made).toHaveBeenCalledTimes(1);
});

test("what is sent while the connection closes settles: it does not wait for a timer that nobody set", async () => {
  onRequest = () => {};
  const settled = vi.fn<() => void>();
  for (let microtasks = 0; microtasks < 12; microtasks++) {
    await connection.connect();
    connection.send(ask).then(settled, settled);
    for (let tick = 0; tick < microtasks; tick++) await Promise.resolve();
    await connection.disconnect();
    await vi.waitFor(() => expect(settled).toHaveBeenCalledTimes(microtasks + 1), { timeout: 5_000 });
  }
});
