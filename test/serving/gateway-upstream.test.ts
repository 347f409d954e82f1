import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { expect, test } from "vitest";
import { startGateway } from "./gateway-fixture.ts";

/** A policy server of bare bytes: `answer` writes to a connection on which a request has come. */
async function startRaw(answer: (socket: Socket, request: number) => void) {
  const connections: Socket[] = [];
  let requests = 0;
  const server = createServer((socket) => {
    connections.push(socket);
    let head = "";
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => {
      head += chunk.toString("latin1");
      const [, length] = /content-length: (\d+)/i.exec(head) ?? [];
      const start = head.indexOf("\r\n\r\n");
      if (start === -1 || head.length < start + 4 + Number(length)) return;
      head = "";
      answer(socket, ++requests);
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    connections,
    close() {
      for (const socket of connections) socket.destroy();
      server.close();
    },
  };
}
const answered = (text: string) => `HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: ${text.length}\r\n\r\n${text}`;
const textOf = async (answer: Promise<Response>) => (await answer).text();

test("calls follow one another on one connection", async () => {
  const server = await startRaw((socket, request) => socket.write(answered(`answer ${request}`)));
  await using gateway = await startGateway({ upstreams: [server] });
  expect([await textOf(gateway.chat("a")), await textOf(gateway.chat("b"))]).toEqual(["answer 1", "answer 2"]);
  expect(server.connections.length).toBe(1);
  server.close();
});

test("bytes that nobody asked for are nobody's answer: their connection is not used again", async () => {
  const server = await startRaw((socket, request) => socket.write(answered(`answer ${request}`) + answered("of another call")));
  await using gateway = await startGateway({ upstreams: [server] });
  expect(await textOf(gateway.chat("a"))).toBe("answer 1");
  const [first] = server.connections;
  if (first?.destroyed === false) await once(first, "close");
  expect(await textOf(gateway.chat("b"))).toBe("answer 2");
  expect(server.connections.length).toBe(2);
  server.close();
});

test("a connection that its server closed while a call was on its way is no failure of the call", async () => {
  const server = await startRaw((socket, request) => {
    if (request === 2) socket.destroy();
    else socket.write(answered(`answer ${request}`));
  });
  await using gateway = await startGateway({ upstreams: [server] });
  expect([await textOf(gateway.chat("a")), await textOf(gateway.chat("b"))]).toEqual(["answer 1", "answer 3"]);
  server.close();
});
