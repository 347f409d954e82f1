import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

export interface Address {
  host: string;
  port: number;
}

/** A listener that leads every connection to what `target` says at that moment; null resets the connection. */
export interface Forward {
  close(): Promise<void>;
}

export async function startForward(from: Address, target: () => Address | null): Promise<Forward> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (client) => {
    client.on("error", () => {});
    const to = target();
    if (to === null) {
      client.resetAndDestroy();
      return;
    }
    const upstream = connect({ ...to, allowHalfOpen: true });
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket);
      // What one side means by the end of a connection reaches the other as what it was: an orderly end or a reset.
      socket.on("error", () => other.resetAndDestroy());
      socket.on("close", () => sockets.delete(socket));
      socket.pipe(other);
    }
  });
  server.listen(from.port, from.host);
  await once(server, "listening");
  return {
    async close() {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
