import { z } from "zod";

/** What a fleet's traffic is to do for one agent. Written only by the control plane, fenced by `generation`. */
export interface Routes {
  agent: string;
  /** Public model name that agents ask for. */
  model: string;
  /** Grows with every change; a router ignores an older one. */
  version: number;
  generation: number;
  stable: RouteTarget;
  /** Null outside an experiment. `weight` is the share of assignment keys, 0..1. */
  candidate: (RouteTarget & { weight: number }) | null;
  experimentId: string | null;
  /** Salt of the experiment's assignment hash. */
  salt: string | null;
}

export interface RouteTarget {
  /** Served model name: the adapter's immutable name, or the base model's. */
  name: string;
  /** Digest of the adapter's manifest, or of the base. */
  digest: string;
}

const target = { name: z.string().min(1), digest: z.string().min(1) };

/** Routes as they arrive from the control plane or from disk. */
export const routesSchema: z.ZodType<Routes> = z.object({
  agent: z.string().min(1),
  model: z.string().min(1),
  version: z.int().min(0),
  generation: z.int().min(0),
  stable: z.object(target),
  candidate: z.object({ ...target, weight: z.number().min(0).max(1) }).nullable(),
  experimentId: z.string().nullable(),
  salt: z.string().nullable(),
});
