import { createHash, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import type { MiddlewareHandler } from "hono";
import type { Config } from "../config.ts";
import { nightshiftError } from "../errors.ts";

const LOOPBACK = new Set(["127.0.0.1", "::1", "localhost"]);

/**
 * Lets a request through that carries the operator's bearer token. Without a token configured, only loopback listens, and a request must name a loopback
 * host and come from no other site: a page in the operator's browser must not reach it by a rebound name or a cross-site form.
 * @throws NightshiftError `api_open` when anybody on the network could act, `config_invalid` for a token file that holds no token
 */
export function requireOperator(config: Config["api"]): MiddlewareHandler {
  if (config.operatorTokenFile === undefined) {
    if (!LOOPBACK.has(config.host)) throw nightshiftError("api_open", { host: config.host });
    return async (context, next) => {
      const { hostname } = new URL(context.req.url);
      const origin = context.req.header("origin");
      const isOwn = origin === undefined || origin === new URL(context.req.url).origin;
      if (!LOOPBACK.has(hostname.replace(/^\[|\]$/g, "")) || !isOwn) throw nightshiftError("not_authorised", { path: context.req.path });
      await next();
    };
  }
  const expected = digest(readToken(config.operatorTokenFile));
  return async (context, next) => {
    const token = /^bearer +(\S+)$/i.exec(context.req.header("authorization") ?? "")?.[1] ?? "";
    if (!timingSafeEqual(digest(token), expected)) throw nightshiftError("not_authorised", { path: context.req.path });
    await next();
  };
}

/** An empty token would equal the one that a request without a credential carries. */
function readToken(file: string): string {
  const refuse = (problem: string, cause?: unknown) =>
    nightshiftError("config_invalid", { path: "api.operatorTokenFile", received: file, problem }, { cause });
  let token: string;
  try {
    token = readFileSync(file, "utf8").trim();
  } catch (cause) {
    throw refuse("the file cannot be read", cause);
  }
  if (!/^\S+$/.test(token)) throw refuse("the file must hold one token, without spaces");
  return token;
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
