import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** What is wrong with the network; `{}` is a sound one. */
export interface Faults {
  /** Of ten connections, how many are reset as soon as they are made. */
  refusedOfTen?: number;
  /** All connections that there are get reset this often, for the first time at once. */
  cutEveryMs?: number;
  /** What every byte takes longer, either way. */
  delayMs?: number;
  /** Half open: connections are made and stay, and nothing passes. What was swallowed never comes. */
  isSilent?: boolean;
}

/** A network between clients and one server on loopback, for both directions of every connection. */
export interface Network {
  readonly port: number;
  /** Where connections lead from now on. */
  leadTo(port: number): void;
  set(faults: Faults): void;
  /** Connections made and refused since the start. */
  readonly counts: Readonly<{ made: number; refused: number; cut: number }>;
  close(): Promise<void>;
}

export async function startNetwork(): Promise<Network> {
  const state = { faults: {} as Faults, target: 0 };
  const counts = { made: 0, refused: 0, cut: 0 };
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const { refusedOfTen = 0 } = state.faults;
    // Spread over every ten: 7 of 10 are 0, 3, 6, 9, 2, 5, 8.
    if (((counts.made + counts.refused) * 3) % 10 < refusedOfTen) {
      counts.refused++;
      client.on("error", () => {}).resetAndDestroy();
      return;
    }
    counts.made++;
    const upstream = connect(state.target, "127.0.0.1");
    const both = [client, upstream];
    const end = (): void => both.forEach((socket) => socket.destroy());
    for (const socket of both) {
      sockets.add(socket);
      socket.on("error", end).on("close", end);
      socket.on("close", () => sockets.delete(socket));
    }
    upstream.on("connect", () => {
      pass(client, upstream, state);
      pass(upstream, client, state);
    });
  });
  const cut = (): void => {
    counts.cut += sockets.size / 2;
    for (const socket of sockets) socket.resetAndDestroy();
  };
  let cutting: NodeJS.Timeout | undefined;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    leadTo: (port) => void (state.target = port),
    set(faults) {
      state.faults = faults;
      clearInterval(cutting);
      if (faults.cutEveryMs === undefined) return;
      cut();
      cutting = setInterval(cut, faults.cutEveryMs);
    },
    counts,
    async close() {
      clearInterval(cutting);
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, "close");
    },
  };
}

/** A delay that changes must not let bytes overtake each other: every chunk waits for the one before. */
function pass(from: Socket, to: Socket, state: { faults: Faults }): void {
  let before: Promise<unknown> = Promise.resolve();
  from.on("data", (chunk) => {
    const { isSilent = false, delayMs = 0 } = state.faults;
    if (isSilent) return;
    const due = delayMs === 0 ? undefined : sleep(delayMs, undefined, { ref: false });
    before = before.then(() => due).then(() => !to.destroyed && to.write(chunk));
  });
}
