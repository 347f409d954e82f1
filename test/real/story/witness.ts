import { once } from "node:events";
import { createServer, request, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";

/** One call of an agent to the gateway, as a network between the two sees it. */
export interface Call {
  /** Of this machine's clock, when the answer was whole. */
  answeredAtMs: number;
  /** null: no whole answer came. */
  status: number | null;
  /** Digest of the adapter that the gateway says answered. */
  digest: string | null;
  /** Name of the model that the policy server says answered. */
  model: string | null;
}

/** Stands between an agent and the gateway and keeps what was answered: an agent's client calls again after a failure and tells nobody. */
export interface Witness {
  /** For the agent, in place of the gateway's. */
  readonly url: string;
  readonly calls: readonly Call[];
  close(): Promise<void>;
}

/** @param gateway Without a path. */
export async function startWitness(gateway: string): Promise<Witness> {
  const calls: Call[] = [];
  const server = createServer((incoming, outgoing) => {
    void pass(gateway, incoming, outgoing).then((call) => calls.push(call));
  });
  // Longer than any client keeps an idle connection.
  server.keepAliveTimeout = 65_000;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

async function pass(gateway: string, incoming: IncomingMessage, outgoing: ServerResponse): Promise<Call> {
  try {
    const answer = await send(gateway, incoming);
    outgoing.writeHead(answer.status, answer.headers).end(answer.body);
    const digest = answer.headers["x-nightshift-adapter"];
    const model = answer.status === 200 ? (JSON.parse(answer.body.toString()) as { model?: string }).model : null;
    return { answeredAtMs: Date.now(), status: answer.status, digest: typeof digest === "string" ? digest : null, model: model ?? null };
  } catch {
    outgoing.destroy();
    return { answeredAtMs: Date.now(), status: null, digest: null, model: null };
  }
}

/** A connection of its own for every call: none can be one that the gateway closes while it is idle. */
async function send(gateway: string, incoming: IncomingMessage): Promise<{ status: number; headers: IncomingHttpHeaders; body: Buffer }> {
  const body = await buffer(incoming);
  const headers = { ...incoming.headers, host: new URL(gateway).host, connection: "close" };
  const sent = request(new URL(incoming.url ?? "/", gateway), { method: incoming.method ?? "GET", headers, agent: false });
  sent.end(body);
  const [answer] = (await once(sent, "response")) as [IncomingMessage];
  const { connection: _, "transfer-encoding": __, ...kept } = answer.headers;
  return { status: answer.statusCode ?? 502, headers: kept, body: await buffer(answer) };
}
