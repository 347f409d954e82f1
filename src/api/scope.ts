import type { Context } from "hono";
import type { Role } from "../config-api.ts";
import { nightshiftError } from "../errors.ts";
import { createExperimentStore, type Experiment } from "../promotion/experiment-store.ts";
import { loadTrajectory } from "../trajectory/trajectory-store.ts";
import type { Trajectory } from "../trajectory/trajectory.ts";
import { loadGroups, type StoredGroup } from "../training/iteration.ts";
import type { Run } from "../training/run-store.ts";
import type { ApiDeps } from "./control.ts";

/** Whose token a request carries. `role` is null where no token is configured; `tenant` is null for one that reaches every tenant. */
export interface Caller {
  role: Role | null;
  tenant: string | null;
}

declare module "hono" {
  interface ContextVariableMap {
    /** Set before any handler of `/v1` runs. */
    caller: Caller;
  }
}

/**
 * The API's parts as far as a caller reaches. Whatever looks something up by what a request says takes this, never `ApiDeps`, which has no `tenant`: what lies outside
 * is not found, by the same words as what does not exist, so that nobody learns even that it does.
 */
export interface Scope extends ApiDeps {
  /** null: every tenant, those that the config names no more included. */
  tenant: string | null;
}

export function scopeOf(context: Context, deps: ApiDeps): Scope {
  const { tenant } = context.get("caller");
  if (tenant === null) return { ...deps, tenant };
  const agents = new Map([...deps.agents].filter(([, { config }]) => config.tenant === tenant));
  return { ...deps, agents, tenants: [tenant], tenant };
}

export function isWithin({ tenant }: Pick<Scope, "tenant">, row: { tenant: string }): boolean {
  return tenant === null || row.tenant === tenant;
}

/** Of a filter what a scope adds to it. */
export function tenantFilter({ tenant }: Pick<Scope, "tenant">): { tenant?: string } {
  return tenant === null ? {} : { tenant };
}

/** The run; null where there is none in reach. */
export async function findRun(scope: Scope, id: string): Promise<Run | null> {
  const run = await scope.runs.get(id);
  return run !== null && isWithin(scope, run) ? run : null;
}

/** The newest version; null where there is none in reach. */
export async function findTrajectory(scope: Scope, id: string, version?: number): Promise<Trajectory | null> {
  const trajectory = await loadTrajectory(scope.database.kysely, id, version);
  return trajectory !== null && isWithin(scope, trajectory) ? trajectory : null;
}

/** The group; null where there is none in reach: its run says whose it is. */
export async function findGroup(scope: Scope, id: string): Promise<StoredGroup | null> {
  const row = await scope.database.kysely.selectFrom("groups").select("run_id").where("id", "=", id).executeTakeFirst();
  if (row === undefined) return null;
  if (scope.tenant !== null && (await findRun(scope, row.run_id)) === null) return null;
  return (await loadGroups(scope.database, row.run_id)).find((group) => group.id === id) ?? null;
}

/** @throws NightshiftError `experiment_unknown` or, where it is only read, `not_found` */
export async function experimentOf(scope: Scope, id: string, code: "not_found" | "experiment_unknown" = "not_found"): Promise<Experiment> {
  const experiment = await createExperimentStore(scope).get(id);
  if (experiment !== null && isWithin(scope, experiment)) return experiment;
  throw code === "not_found" ? nightshiftError(code, { what: `experiment ${id}` }) : nightshiftError(code, { id });
}
