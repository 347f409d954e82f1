import type { Context } from "hono";
import { z } from "zod";
import { nightshiftError } from "../errors.ts";
import type { AgentControl } from "./control.ts";
import type { Scope } from "./scope.ts";

/** The request's JSON body, validated. @throws NightshiftError `request_invalid` naming the path of the problem */
export async function readBody<T>(context: Context, schema: z.ZodType<T>): Promise<T> {
  const body: unknown = await context.req.json().catch(() => {
    throw nightshiftError("request_invalid", { problem: "the body is not JSON" });
  });
  return check(schema, body);
}

/** The request's query, validated; numbers and booleans are coerced by the schema. */
export function readQuery<T>(context: Context, schema: z.ZodType<T>): T {
  return check(schema, context.req.query());
}

/** @throws NightshiftError `not_found` */
export function agentOf({ agents }: Scope, agent: string): AgentControl {
  const control = agents.get(agent);
  if (control === undefined) throw nightshiftError("not_found", { what: `agent ${agent}` });
  return control;
}

/** The named one; where there is only one tenant it need not be named. @throws NightshiftError `request_invalid`, `not_found` */
export function tenantOf({ tenants }: Scope, named: string | undefined): string {
  const [only, ...others] = tenants;
  if (named === undefined && only !== undefined && others.length === 0) return only;
  if (named === undefined)
    throw nightshiftError("request_invalid", { problem: `tenant: there are several, name one of ${tenants.join(", ")}` });
  if (!tenants.includes(named)) throw nightshiftError("not_found", { what: `tenant ${named}` });
  return named;
}

/** Page size, at most 1,000. */
export const limitSchema = z.coerce.number().int().min(1).max(1_000).default(100);

function check<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw nightshiftError("request_invalid", { problem: `${issue?.path.join(".") || "(root)"}: ${issue?.message ?? "invalid"}` });
}
