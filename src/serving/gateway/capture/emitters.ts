import type { CaptureLine, Settled } from "./capture.ts";
import { createEmitter, type CapturedAgent, type SendSpans } from "./emitter.ts";

export interface AuthorisedAgent extends CapturedAgent {
  /** By which a collector knows its tenant. */
  token?: string | undefined;
}

/** As `createEmitter`, for agents of several tenants: a request carries spans of those agents only whose token it is sent with. */
export function createEmitters(
  agents: readonly AuthorisedAgent[],
  deps: { sendSpansWith: (token: string | undefined) => SendSpans; settled: (outcome: Settled) => void },
): CaptureLine {
  const groups = [...Map.groupBy(agents, ({ token }) => token)];
  const emitters = groups.map(([token, own]) => ({ own, emitter: createEmitter(own, { ...deps, sendSpans: deps.sendSpansWith(token) }) }));
  const byAgent = new Map(emitters.flatMap(({ own, emitter }) => own.map(({ agent }) => [agent, emitter] as const)));
  return {
    send: (seen) => byAgent.get(seen.agent)?.send(seen),
    close: async () => void (await Promise.all(emitters.map(({ emitter }) => emitter.close()))),
  };
}
