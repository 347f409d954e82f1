/** The few calls of Nightshift's HTTP API that the quickstart makes, as any client would. */
export interface Status {
  agents: {
    agent: string;
    funnel: { captured: number; complete: number; trainable: number; reasons: Record<string, number> };
    stable: { name: string; digest: string };
    run: RunView | null;
    experiment: ExperimentView | null;
  }[];
}

export interface RunView {
  id: string;
  state: "running" | "finished" | "failed" | "cancelled";
  startedAtMs: number;
  finishedAtMs: number | null;
  outcome: { kind: string; adapterName?: string; adapterDigest?: string; reason?: string; message?: string } | null;
  steps: { step: string; startedAtMs: number; finishedAtMs: number | null; output: Record<string, unknown> | null }[];
}

export interface ExperimentView {
  id: string;
  state: string;
  step: number;
  weight: number;
  candidate: { name: string; digest: string };
  stable: { name: string; digest: string };
  gate: {
    decision: string;
    reason: string;
    units: number;
    wins: number;
    losses: number;
    ties: number;
    kPromote: number;
    kHarm: number;
    threshold: number;
  } | null;
  conclusion: { action: string; reason: string; detail: string } | null;
  numbers: Record<string, unknown> | null;
}

/** A suspicion about a run's rewards that is open: nothing of the run goes on until somebody has looked. */
export interface AlarmView {
  runId: string;
  id: string;
  check: { suspicion: string; explained: number | null };
}

export interface Control {
  status(): Promise<Status["agents"][number]>;
  run(id: string): Promise<RunView>;
  startRun(): Promise<string>;
  openAlarms(runId: string): Promise<AlarmView[]>;
  acknowledge(alarm: AlarmView, reason: string): Promise<void>;
  feedback(items: readonly { conversationId: string; success: boolean }[]): Promise<void>;
  lineage(reference: string): Promise<Record<string, unknown>>;
}

/** @param token An operator's, where the API asks for one. */
export function createControl(apiUrl: string, agent: string, token: string | null = null): Control {
  const authorization = token === null ? {} : { authorization: `Bearer ${token}` };
  const call = async (method: "GET" | "POST", path: string, body?: unknown): Promise<unknown> => {
    const response = await fetch(new URL(path, apiUrl), {
      method,
      headers: { ...authorization, ...(body === undefined ? {} : { "content-type": "application/json" }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path} answered ${response.status}: ${text.slice(0, 500)}`);
    return text === "" ? null : (JSON.parse(text) as unknown);
  };
  return {
    async status() {
      const { agents } = (await call("GET", "/v1/status")) as Status;
      const own = agents.find((one) => one.agent === agent);
      if (own === undefined) throw new Error(`the status has no agent ${agent}`);
      return own;
    },
    run: async (id) => (await call("GET", `/v1/runs/${id}`)) as RunView,
    startRun: async () => ((await call("POST", "/v1/runs", { agent })) as { runId: string }).runId,
    openAlarms: async (runId) => ((await call("GET", `/v1/alarms?run=${runId}`)) as { alarms: AlarmView[] }).alarms,
    async acknowledge({ runId, id }, reason) {
      await call("POST", `/v1/runs/${runId}/alarms/${id}/acknowledgement`, { actor: "quickstart", reason });
    },
    async feedback(items) {
      await call("POST", "/v1/feedback", {
        agent,
        items: items.map(({ conversationId, success }) => ({
          target: { kind: "conversation", id: conversationId },
          name: "task_success",
          source: "shop",
          value: success,
        })),
      });
    },
    lineage: async (reference) => (await call("GET", `/v1/lineage/${encodeURIComponent(reference)}`)) as Record<string, unknown>,
  };
}
