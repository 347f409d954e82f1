import { randomUUID } from "node:crypto";
import { parseJSONRPCMessage, type Server, type Transport } from "@modelcontextprotocol/server";

/** The transport of MCP's first revision (2024-11-05): a stream of events that names an address, to which messages are posted. */
export interface SseSessions {
  /** Opens a stream; `pathOf` is the address that its client is told to post to. */
  open(server: Server, pathOf: (id: string) => string): Promise<Response>;
  /** Takes a posted message; false when no stream has this id. */
  post(id: string, message: unknown): boolean;
  close(): Promise<void>;
}

export function createSseSessions(): SseSessions {
  const open = new Map<string, { server: Server; transport: Transport }>();
  return {
    async open(server, pathOf) {
      const id = randomUUID();
      const encoder = new TextEncoder();
      let controller: ReadableStreamDefaultController<Uint8Array> | null = null;
      const send = (event: string, data: string): void => controller?.enqueue(encoder.encode(`event: ${event}\ndata: ${data}\n\n`));
      const end = (): void => {
        open.delete(id);
        controller = null;
      };
      const body = new ReadableStream<Uint8Array>({
        start: (given) => {
          controller = given;
        },
        cancel: () => void server.close(),
      });
      const transport: Transport = {
        // The client posts only where it has been told to.
        start: () => Promise.resolve(send("endpoint", pathOf(id))),
        send: (message) => Promise.resolve(send("message", JSON.stringify(message))),
        close: () => {
          if (controller !== null) {
            const ending = controller;
            end();
            closeQuietly(ending);
            transport.onclose?.();
          }
          return Promise.resolve();
        },
      };
      open.set(id, { server, transport });
      await server.connect(transport);
      return new Response(body, { headers: { "content-type": "text/event-stream", "cache-control": "no-cache" } });
    },
    post(id, message) {
      const found = open.get(id);
      if (found === undefined) return false;
      found.transport.onmessage?.(parseJSONRPCMessage(message));
      return true;
    },
    async close() {
      await Promise.all([...open.values()].map(({ server }) => server.close()));
    },
  };
}

/** A stream that its reader has cancelled is closed already. */
function closeQuietly(controller: ReadableStreamDefaultController<Uint8Array>): void {
  try {
    controller.close();
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause;
  }
}
