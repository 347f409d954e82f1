import { createHash } from "node:crypto";
import { Hono } from "hono";
import { z } from "zod";
import { nightshiftError } from "../errors.ts";
import type { ReplicaSource, ToldReplicas } from "../serving/replica-source.ts";
import type { ApiDeps } from "./control.ts";
import { agentOf, readQuery } from "./request.ts";
import { scopeOf } from "./scope.ts";

const query = z.strictObject({
  agent: z.string(),
  /** The version that the gateway has. */
  known: z.string().max(100).optional(),
  waitMs: z.coerce.number().int().min(0).max(30_000).default(0),
});

/**
 * Discovered replicas, long-polled by gateways. Every replica of the control service looks for itself and answers with what it sees, so the version is a digest: it says
 * whether two states are the same, whoever told them.
 */
export function upstreamRoutes(deps: ApiDeps): Hono {
  const app = new Hono();
  app.get("/upstreams", async (context) => {
    const { agent, known, waitMs } = readQuery(context, query);
    const { replicaSource } = agentOf(scopeOf(context, deps), agent);
    if (replicaSource === null) throw nightshiftError("not_found", { what: `discovery of ${agent}: its replicas are in the config` });
    // As with routes: the next poll may reach another replica.
    context.header("connection", "close");
    const told = await newerReplicas({ agent, source: replicaSource }, known ?? null, waitMs, context.req.raw.signal);
    return told.version === known ? context.body(null, 204) : context.json(told);
  });
  return app;
}

/** The replicas once they are others than `known`, or after `waitMs` as they are then. @throws NightshiftError `fleet_unknown` */
async function newerReplicas(
  asked: { agent: string; source: ReplicaSource },
  known: string | null,
  waitMs: number,
  signal: AbortSignal,
): Promise<ToldReplicas> {
  if (waitMs > 0 && tell(asked)?.version === known) {
    const over = Promise.withResolvers<null>();
    const unsubscribe = asked.source.subscribe(() => over.resolve(null));
    const timer = setTimeout(() => over.resolve(null), waitMs);
    signal.addEventListener("abort", () => over.resolve(null), { once: true });
    await over.promise;
    clearTimeout(timer);
    unsubscribe();
  }
  const told = tell(asked);
  if (told === null) throw nightshiftError("fleet_unknown", { agent: asked.agent });
  return told;
}

function tell({ agent, source }: { agent: string; source: ReplicaSource }): ToldReplicas | null {
  const replicas = source.current();
  if (replicas === null) return null;
  const version = createHash("sha256").update(JSON.stringify(replicas)).digest("hex").slice(0, 16);
  return { agent, version, replicas };
}
