import { nightshiftError } from "../errors.ts";
import type { AdapterReport } from "./adapter-report.ts";
import { desiredAdaptersSchema, type DesiredAdapters } from "./desired-adapters.ts";
import { toldReplicasSchema, type ToldReplicas } from "./replica-source.ts";

/** What adapter agents say to the control service, and gateways ask it beside their routes. */
export interface ControlClient {
  /** null: the control service has not said anything about this agent yet. @throws NightshiftError `control_unavailable` */
  desired(agent: string, signal: AbortSignal): Promise<DesiredAdapters | null>;
  /** @throws NightshiftError `control_unavailable` */
  report(report: AdapterReport, signal?: AbortSignal): Promise<void>;
  /** null: they are as `known` says, also after `waitMs`. @throws NightshiftError `control_unavailable` */
  replicas(agent: string, asked: { known: string | null; waitMs: number }, signal: AbortSignal): Promise<ToldReplicas | null>;
}

const TIMEOUT_MS = 10_000;

export function createControlClient(config: { controlUrl: string; token?: string | undefined }): ControlClient {
  const call = async (path: string, init: RequestInit, signal?: AbortSignal, waitMs = 0): Promise<Response> => {
    const timeoutMs = TIMEOUT_MS + waitMs;
    const timeout = AbortSignal.timeout(timeoutMs);
    const unavailable = (problem: string, cause?: unknown) =>
      nightshiftError("control_unavailable", { url: config.controlUrl, problem }, { cause });
    const answer = await fetch(config.controlUrl.replace(/\/+$/, "") + path, {
      ...init,
      headers: {
        "content-type": "application/json",
        ...(config.token === undefined ? {} : { authorization: `Bearer ${config.token}` }),
      },
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
    }).catch((cause: unknown) => {
      signal?.throwIfAborted();
      throw unavailable(timeout.aborted ? `no answer within ${timeoutMs} ms` : "no connection", cause);
    });
    if (answer.ok) return answer;
    await answer.body?.cancel();
    throw unavailable(`it answered ${answer.status}`);
  };
  return {
    async desired(agent, signal) {
      const answer = await call(`/v1/desired-adapters?agent=${encodeURIComponent(agent)}`, {}, signal);
      return answer.status === 204 ? null : desiredAdaptersSchema.parse(await answer.json());
    },
    async report(report, signal) {
      const answer = await call("/v1/attestations", { method: "POST", body: JSON.stringify(report) }, signal);
      await answer.body?.cancel();
    },
    async replicas(agent, { known, waitMs }, signal) {
      const query = new URLSearchParams({ agent, waitMs: String(waitMs), ...(known === null ? {} : { known }) });
      const answer = await call(`/v1/upstreams?${query.toString()}`, {}, signal, waitMs);
      return answer.status === 204 ? null : toldReplicasSchema.parse(await answer.json());
    },
  };
}
