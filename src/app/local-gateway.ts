import { join } from "node:path";
import type { Config } from "../config.ts";
import type { Logger } from "../log.ts";
import { recordDisturbance } from "../promotion/disturbed.ts";
import { createExperimentStore } from "../promotion/experiment-store.ts";
import { createDisturbanceOutbox } from "../serving/disturbance.ts";
import { createGateway, startOrClose } from "../serving/gateway.ts";
import { createRouteTable, type RouteTable } from "../serving/route-table.ts";
import type { Database } from "../store/database.ts";
import { gatewayAgentOf } from "./agent-parts.ts";
import { captureTo } from "./capture-thread.ts";
import { collectorTokens } from "./collector-tokens.ts";
import type { Control } from "./control.ts";
import { startLoop } from "./loop.ts";
import { configInvalid } from "./shared-parts.ts";
import type { Started } from "./started.ts";

interface LocalGatewayDeps {
  database: Database;
  collectorPort: number;
  log: Logger;
  now: () => number;
  monotonicMs: () => number;
}

const TELL_EVERY_MS = 1_000;

/** The gateway of `up`: in the process of the control service, whose view of the routes it shares, and which it tells of disturbances without a request. */
export async function startLocalGateway(
  config: Config,
  { watch, agents }: Control,
  deps: LocalGatewayDeps,
  started: Started,
): Promise<{ port: number }> {
  const { log, monotonicMs } = deps;
  const table = await openTable(config, { watch, agents }, deps, started);
  const collector = {
    collectorUrl: collectorUrlOf(config, deps.collectorPort),
    tokens: collectorTokens(config),
  };
  const served = agents.map(gatewayAgentOf);
  const gateway = createGateway(
    { gateway: config.gateway, agents: served },
    { routes: table, log, capture: captureTo(collector, { agents: served, log }), monotonicMs },
  );
  const { port } = await startOrClose(gateway);
  started.add("gateway", async () => {
    await gateway.close();
    await table.flush();
  });
  return { port };
}

/** A certificate names a host, which only the operator knows; and it may be one that clients need a certificate for, which the gateway has not. */
function collectorUrlOf({ collector, gateway }: Config, port: number): string {
  if (collector.tls === undefined) return `http://127.0.0.1:${port}`;
  const { clientCaFile } = collector.tls;
  if (clientCaFile !== undefined) {
    throw configInvalid(
      "collector.tls.clientCaFile",
      clientCaFile,
      "the gateway of `up` has no client certificate; run the collector as a process of its own",
    );
  }
  if (gateway.collectorUrl !== undefined) return gateway.collectorUrl;
  throw configInvalid(
    "gateway.collectorUrl",
    gateway.collectorUrl,
    "with collector.tls the gateway needs the https:// address that the certificate names",
  );
}

/** The routes as the control service's own watch sees them; what disturbs the gateway's traffic is written down at once. */
async function openTable(
  config: Config,
  { watch, agents }: Pick<Control, "watch" | "agents">,
  deps: LocalGatewayDeps,
  started: Started,
): Promise<RouteTable> {
  const { log, monotonicMs, now } = deps;
  const experiments = createExperimentStore(deps);
  const outbox = createDisturbanceOutbox({ monotonicMs });
  const telling = startLoop({ name: "disturbances", everyMs: TELL_EVERY_MS, log }, async () => {
    for (const { agent } of agents) {
      await outbox.flush(agent, async ({ cause, agoMs }) => {
        await recordDisturbance({ agent, cause, atMs: Math.round(now() - agoMs) }, experiments);
      });
    }
  });
  started.add("disturbances", () => telling.stop());
  const table = await createRouteTable(
    { leaseMs: config.gateway.leaseMs, file: join(config.dataDir, "gateway", "routes.json") },
    {
      monotonicMs,
      log,
      onLapse: (agent) => {
        outbox.note(agent, "lease_lapse");
        telling.wake();
      },
    },
  );
  const takeOver = (): void => {
    for (const { agent } of agents) {
      const known = watch.current(agent);
      if (known !== null) table.receive(known.routes, known.confirmedAtMs);
    }
  };
  takeOver();
  const unsubscribe = watch.subscribe(takeOver);
  started.add("routes of the gateway", () => Promise.resolve(unsubscribe()));
  // It starts with this process and has forgotten its pins.
  for (const { agent } of agents) outbox.note(agent, "gateway_restart");
  telling.wake();
  return table;
}
