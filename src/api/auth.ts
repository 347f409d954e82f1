import type { MiddlewareHandler } from "hono";
import { createTokenMatcher } from "../bearer-token.ts";
import type { Config } from "../config.ts";
import { ROLES } from "../config-api.ts";
import { nightshiftError } from "../errors.ts";
import { rolesFor } from "./roles.ts";

const LOOPBACK = new Set(["127.0.0.1", "::1", "localhost"]);

/**
 * Lets a request through that carries a bearer token of a role that may make it. Without any token configured, only loopback listens, and a request must name a
 * loopback host and come from no other site: a page in the operator's browser must not reach it by a rebound name or a cross-site form.
 * @throws NightshiftError `api_open` when anybody on the network could act
 */
export function requireRole(config: Config["api"]): MiddlewareHandler {
  const known = ROLES.flatMap((role) => config.tokens[role].map((hash) => ({ hash, value: role })));
  if (known.length === 0) {
    if (!LOOPBACK.has(config.host)) throw nightshiftError("api_open", { host: config.host });
    return async (context, next) => {
      const { hostname } = new URL(context.req.url);
      const origin = context.req.header("origin");
      const isOwn = origin === undefined || origin === new URL(context.req.url).origin;
      if (!LOOPBACK.has(hostname.replace(/^\[|\]$/g, "")) || !isOwn) throw nightshiftError("not_authorised", { path: context.req.path });
      await next();
    };
  }
  const roleOf = createTokenMatcher(known);
  return async (context, next) => {
    const { method, path } = context.req;
    const role = roleOf(context.req.header("authorization"));
    if (role === null) throw nightshiftError("not_authorised", { path });
    const allowed = rolesFor(method, path);
    if (!allowed.includes(role))
      throw nightshiftError("role_refused", { role, request: `${method} ${path}`, allowed: allowed.join(" or ") });
    await next();
  };
}
