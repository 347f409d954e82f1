import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** One address in front of several replicas, as a service of a cluster is: every connection goes to the next one that takes it. */
export async function startBalancer(targets: () => readonly string[]): Promise<{ url: string; close(): Promise<void> }> {
  const open = new Set<Socket>();
  let turn = 0;
  const server = createServer((incoming) => {
    open.add(incoming);
    incoming.on("error", () => incoming.destroy());
    incoming.on("close", () => open.delete(incoming));
    const all = targets();
    turn += 1;
    const inTurn = all.map((_, index) => all[(turn + index) % all.length]);
    forward(
      incoming,
      inTurn.filter((url) => url !== undefined),
    );
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      for (const socket of open) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

function forward(incoming: Socket, [target, ...others]: readonly string[]): void {
  if (target === undefined || incoming.destroyed) {
    incoming.destroy();
    return;
  }
  const { hostname, port } = new URL(target);
  const outgoing = connect(Number(port), hostname);
  const next = (): void => forward(incoming, others);
  outgoing.once("error", next);
  outgoing.once("connect", () => {
    outgoing.off("error", next);
    outgoing.on("error", () => incoming.destroy());
    outgoing.on("close", () => incoming.destroy());
    incoming.on("close", () => outgoing.destroy());
    incoming.pipe(outgoing).pipe(incoming);
  });
}
