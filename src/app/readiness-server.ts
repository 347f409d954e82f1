import { serve, type ServerType } from "@hono/node-server";
import { Hono } from "hono";
import type { AddressInfo } from "node:net";
import { nightshiftError } from "../errors.ts";

/** What a process says of itself. */
export interface Readiness {
  /** Why it does not do its work now; null while it does. */
  notReadyBecause: string | null;
  /** What else an asker may want to know. */
  facts?: Readonly<Record<string, string>>;
}

/**
 * `GET /health` answers while the process lives; `GET /ready` answers 200 while it can do its work, else 503 with the reason. For a process that serves nothing else
 * over HTTP.
 * @throws NightshiftError `port_taken`
 */
export async function serveReadiness(
  { what, host, port }: { what: string; host: string; port: number },
  readiness: () => Readiness | Promise<Readiness>,
): Promise<{ port: number; close(): Promise<void> }> {
  const app = new Hono();
  app.get("/health", (context) => context.json({ status: "ok" }));
  app.get("/ready", async (context) => {
    const { notReadyBecause: reason, facts = {} } = await readiness();
    return reason === null ? context.json({ status: "ready", ...facts }) : context.json({ status: "not_ready", reason, ...facts }, 503);
  });
  const listening = Promise.withResolvers<ServerType>();
  const server = serve({ fetch: app.fetch, hostname: host, port }, () => listening.resolve(server));
  server.on("error", (cause: NodeJS.ErrnoException) =>
    listening.reject(cause.code === "EADDRINUSE" ? nightshiftError("port_taken", { what, host, port }, { cause }) : cause),
  );
  await listening.promise;
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        if ("closeAllConnections" in server) server.closeAllConnections();
      }),
  };
}
