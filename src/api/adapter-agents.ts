import { Hono } from "hono";
import { z } from "zod";
import { nightshiftError } from "../errors.ts";
import { adapterReportSchema } from "../serving/adapter-report.ts";
import { createAttestationStore } from "../serving/attestation-store.ts";
import { createDesiredAdapterStore } from "../serving/desired-adapters.ts";
import { findAdapter } from "../training/adapters.ts";
import type { ApiDeps } from "./control.ts";
import { agentOf, readBody, readQuery } from "./request.ts";
import { isWithin, scopeOf } from "./scope.ts";

/** What adapter agents ask and report: the adapters that their replica must hold, and what became of them there. */
export function adapterAgentRoutes(deps: ApiDeps): Hono {
  const app = new Hono();
  const desired = createDesiredAdapterStore(deps.database);
  const attestations = createAttestationStore(deps.database);
  app.get("/desired-adapters", async (context) => {
    const { agent } = agentOf(scopeOf(context, deps), readQuery(context, z.strictObject({ agent: z.string() })).agent);
    const found = await desired.read(agent);
    // 204: nothing is known yet, which is something else than an empty set. An adapter agent that took it for one would unload what is in use.
    return found === null ? context.body(null, 204) : context.json(found);
  });
  app.post("/attestations", async (context) => {
    const report = await readBody(context, adapterReportSchema);
    const adapter = await findAdapter(deps.database, report.digest);
    if (adapter?.name !== report.name || !isWithin(scopeOf(context, deps), adapter.manifest))
      throw nightshiftError("not_found", { what: `adapter ${report.name} (${report.digest})` });
    await attestations.save(report);
    return context.json({ status: "recorded" }, 202);
  });
  return app;
}
