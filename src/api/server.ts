import { serve, type ServerType } from "@hono/node-server";
import { Hono, type Context } from "hono";
import { bodyLimit } from "hono/body-limit";
import type { AddressInfo } from "node:net";
import type { Config } from "../config.ts";
import { bindingOf } from "../config-api.ts";
import { NightshiftError, nightshiftError } from "../errors.ts";
import { adapterAgentRoutes } from "./adapter-agents.ts";
import { alarmRoutes } from "./alarms.ts";
import { requireRole } from "./auth.ts";
import { bootstrapRoutes } from "./bootstrap.ts";
import type { ApiDeps } from "./control.ts";
import { driftRoutes } from "./drift.ts";
import { feedbackRoutes } from "./feedback.ts";
import { judgeRoutes } from "./judge.ts";
import { pageRoutes } from "./page.ts";
import { promotionRoutes } from "./promotions.ts";
import { replayRoutes } from "./replay.ts";
import { resourceRoutes } from "./resources.ts";
import { runRoutes } from "./runs.ts";
import { scopeOf } from "./scope.ts";
import { subjectRoutes } from "./subjects.ts";
import { requireTouch } from "./touch.ts";
import { upstreamRoutes } from "./upstreams.ts";
import { agentView, controlView } from "./views.ts";

/** The HTTP API and the page of `serve` and `up`. */
export interface Api {
  /** Listens. @throws NightshiftError `port_taken`, `api_open` */
  start(): Promise<{ port: number }>;
  close(): Promise<void>;
  /** Every method and path that it answers, middleware included (`ALL`). */
  routes(): { method: string; path: string }[];
}

/** HTTP status by error code; everything that is not listed is a 500, or 503 where a retry may help. */
const STATUS: Partial<Record<NightshiftError["code"], 400 | 401 | 403 | 404 | 409 | 422>> = {
  not_found: 404,
  experiment_unknown: 404,
  request_invalid: 400,
  not_authorised: 401,
  role_refused: 403,
  run_in_progress: 409,
  run_refused: 422,
  adapter_slots_exceeded: 422,
  bootstrap_not_configured: 422,
  bootstrap_not_sandboxed: 422,
  bootstrap_no_writer: 422,
  judge_below_agreement: 422,
  labels_invalid: 422,
  calibration_too_small: 422,
  drift_unmeasurable: 422,
  action_refused: 409,
};

/** A thousand feedback items with explanations of full length are the largest honest body. */
const MAX_BODY_BYTES = 32 * 1024 * 1024;

export function createApi(config: Pick<Config, "api" | "tenants">, deps: ApiDeps): Api {
  const app = new Hono();
  app.onError((error, context) => answerError(error, context, deps));
  app.notFound((context) =>
    context.json(
      { error: { code: "not_found", message: `no such path: ${context.req.path}`, fix: "See ARCHITECTURE.md for the paths." } },
      404,
    ),
  );
  app.get("/health", (context) => context.json({ status: "ok" }));
  app.get("/ready", (context) => {
    requireTouch(deps);
    return context.json({ status: "ready" });
  });
  app.use("/v1/*", requireRole(config));
  app.use("/v1/*", bodyLimit({ maxSize: MAX_BODY_BYTES, onError: refuseBody }));
  app.get("/v1/status", async (context) => {
    const scope = scopeOf(context, deps);
    const agents = await Promise.all([...scope.agents.values()].map((agent) => agentView(agent, scope)));
    return context.json({ control: await controlView(scope), agents });
  });
  app.route("/v1", runRoutes(deps));
  app.route("/v1", bootstrapRoutes(deps));
  app.route("/v1", judgeRoutes(deps));
  app.route("/v1", driftRoutes(deps));
  app.route("/v1", alarmRoutes(deps));
  app.route("/v1", promotionRoutes(deps));
  app.route("/v1", upstreamRoutes(deps));
  app.route("/v1", resourceRoutes(deps));
  app.route("/v1", replayRoutes(deps));
  app.route("/v1", feedbackRoutes(deps));
  app.route("/v1", subjectRoutes(deps));
  app.route("/v1", adapterAgentRoutes(deps));
  app.route("/", pageRoutes());
  let server: ServerType | null = null;
  const { api } = config;
  return {
    routes: () => app.routes.map(({ method, path }) => ({ method, path })),
    start: () =>
      new Promise((resolve, reject) => {
        const listening = serve({ fetch: app.fetch, ...bindingOf(api) }, () =>
          resolve({ port: (listening.address() as AddressInfo).port }),
        );
        listening.on("error", (cause: NodeJS.ErrnoException) => {
          reject(
            cause.code === "EADDRINUSE"
              ? nightshiftError("port_taken", { what: "the API", host: api.host, port: api.port }, { cause })
              : cause,
          );
        });
        server = listening;
      }),
    close: () =>
      new Promise((resolve) => {
        if (server === null) return resolve();
        server.close(() => resolve());
        if ("closeAllConnections" in server) server.closeAllConnections();
      }),
  };
}

function refuseBody(): never {
  throw nightshiftError("request_invalid", { problem: `the body is larger than ${MAX_BODY_BYTES} bytes` });
}

function answerError(error: unknown, context: Context, deps: ApiDeps): Response {
  if (!(error instanceof NightshiftError)) {
    // A subject's key is in its path, and no log's business.
    const path = context.req.path.replace(/^(\/v1\/subjects\/).*/, "$1…");
    deps.log.error({ err: error, path }, "request failed");
    return context.json(
      { error: { code: "internal", message: "the request could not be completed", fix: "Read the log of this process." } },
      500,
    );
  }
  const { code, message, fix, retryable } = error;
  return context.json({ error: { code, message, fix } }, STATUS[code] ?? (retryable ? 503 : 500));
}
