import type { MiddlewareHandler } from "hono";
import { createTokenMatcher, type KnownToken } from "../bearer-token.ts";
import type { Config } from "../config.ts";
import { ROLES, type Role } from "../config-api.ts";
import { nightshiftError } from "../errors.ts";
import { rolesFor } from "./roles.ts";
import type { Caller } from "./scope.ts";

const LOOPBACK = new Set(["127.0.0.1", "::1", "localhost"]);

/**
 * Lets a request through that carries a bearer token of a role that may make it, and notes whose token it is. Without any token configured, only loopback listens, and a request must name a
 * loopback host and come from no other site: a page in the operator's browser must not reach it by a rebound name or a cross-site form.
 * @throws NightshiftError `api_open` when anybody on the network could act
 */
export function requireRole({ api, tenants }: Pick<Config, "api" | "tenants">): MiddlewareHandler {
  const known = [
    ...callersOf(api.tokens, null),
    ...Object.entries(tenants).flatMap(([tenant, { apiTokens }]) => callersOf(apiTokens, tenant)),
  ];
  if (known.length === 0) {
    if (!LOOPBACK.has(api.host)) throw nightshiftError("api_open", { host: api.host });
    return async (context, next) => {
      const { hostname } = new URL(context.req.url);
      const origin = context.req.header("origin");
      const isOwn = origin === undefined || origin === new URL(context.req.url).origin;
      if (!LOOPBACK.has(hostname.replace(/^\[|\]$/g, "")) || !isOwn) throw nightshiftError("not_authorised", { path: context.req.path });
      context.set("caller", { role: null, tenant: null });
      await next();
    };
  }
  const callerOf = createTokenMatcher(known);
  return async (context, next) => {
    const { method, path } = context.req;
    const caller = callerOf(context.req.header("authorization"));
    if (caller === null) throw nightshiftError("not_authorised", { path });
    const { role } = caller;
    const allowed = rolesFor(method, path);
    if (!allowed.includes(role))
      throw nightshiftError("role_refused", { role, request: `${method} ${path}`, allowed: allowed.join(" or ") });
    context.set("caller", caller);
    await next();
  };
}

function callersOf(tokens: Config["api"]["tokens"], tenant: string | null): KnownToken<Caller & { role: Role }>[] {
  return ROLES.flatMap((role) => tokens[role].map((hash) => ({ hash, value: { role, tenant } })));
}
