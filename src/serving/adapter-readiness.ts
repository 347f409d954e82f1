import { serve, type ServerType } from "@hono/node-server";
import { Hono } from "hono";
import type { AddressInfo } from "node:net";
import { nightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { BaseStanding } from "./adapter-agent.ts";

/**
 * `GET /health` answers while the process lives; `GET /ready` answers 200 once the replica may get traffic, else 503 with the reason.
 * Meant as the readiness probe of the policy server's pod, which keeps a replica out of service until it has what stable answers with. `base` says what the
 * adapters' proofs say of the base; it makes no replica unready, because what refuses on one may refuse on all, but gateways send calls elsewhere while they can.
 * @throws NightshiftError `port_taken`
 */
export async function serveReadiness(
  { host, port }: { host: string; port: number },
  deps: { notReadyBecause: () => string | null; base: () => BaseStanding; log: Logger },
): Promise<{ port: number; close(): Promise<void> }> {
  const app = new Hono();
  app.get("/health", (context) => context.json({ status: "ok" }));
  app.get("/ready", (context) => {
    const reason = deps.notReadyBecause();
    const base = deps.base();
    return reason === null ? context.json({ status: "ready", base }) : context.json({ status: "not_ready", reason, base }, 503);
  });
  const listening = Promise.withResolvers<ServerType>();
  const server = serve({ fetch: app.fetch, hostname: host, port }, () => listening.resolve(server));
  server.on("error", (cause: NodeJS.ErrnoException) =>
    listening.reject(
      cause.code === "EADDRINUSE" ? nightshiftError("port_taken", { what: "the adapter agent", host, port }, { cause }) : cause,
    ),
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
