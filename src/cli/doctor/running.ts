import type { Report } from "../../api/report.ts";
import type { AgentView, ControlView } from "../../api/views.ts";
import { NightshiftError } from "../../errors.ts";
import type { ApiClient } from "../client.ts";
import { counts, when } from "../print.ts";
import { bad, ok, warn, type Finding } from "./finding.ts";

const RETENTION_LATE_MS = 3 * 3_600_000;

interface Replica {
  name: string;
  url: string;
  /** Null where it does not answer. */
  models: readonly string[] | null;
}

/** What a running Nightshift says of itself: its API, its policy servers against the routes, and what SDKs sent. */
export async function checkRunning(client: ApiClient): Promise<{ findings: Finding[]; isRunning: boolean }> {
  let agents: AgentView[];
  let control: ControlView;
  try {
    ({ agents, control } = await client.get<{ agents: AgentView[]; control: ControlView }>("/v1/status"));
  } catch (error) {
    if (!(error instanceof NightshiftError)) throw error;
    // Before the first `up` there is nothing to reach: no fault.
    const isDown = error.code === "api_unreachable";
    return { findings: [isDown ? warn("api", error.message, error.fix) : bad("api", error.message, error.fix)], isRunning: !isDown };
  }
  const findings = await Promise.all(
    agents.map(async (view) => [
      ...(await checkReplicas(client, view)),
      ...checkWire(view.agent, await client.get<Report>("/v1/report", { agent: view.agent })),
    ]),
  );
  return {
    findings: [ok("api", client.url), checkLeader(control), checkRetention(control, Date.now()), ...findings.flat()],
    isRunning: true,
  };
}

function checkLeader({ leader }: ControlView): Finding {
  if (leader !== null) return ok("leader", leader.name);
  return bad(
    "leader",
    "no replica leads: nights and promotions stand still, candidates lose their traffic",
    "Read the logs of `nightshift serve` for `leadership lost`; store's URL must lead to PostgreSQL itself, not to a pooler that shares sessions.",
  );
}

/** It runs every hour; an older one says that no leader gets to it. */
function checkRetention({ retention }: ControlView, nowMs: number): Finding {
  const fix = "Read the log of the leader for `loop turn failed` with loop `retention`; what is too old stays until it runs.";
  if (retention == null) return warn("retention", "it has not run yet", fix);
  const told = `last ${when(retention.atMs)}, removed ${counts(retention.removed) || "nothing"}`;
  return nowMs - retention.atMs > RETENTION_LATE_MS ? warn("retention", told, fix) : ok("retention", told);
}

/** Where replicas are discovered, the control service may not have found them yet: that is what is wrong then, and no reason to look at nothing else. */
async function checkReplicas(client: ApiClient, view: AgentView): Promise<Finding[]> {
  try {
    const { replicas } = await client.get<{ replicas: Replica[] }>("/v1/replicas", { agent: view.agent });
    return replicas.map((replica) => checkReplica(view, replica));
  } catch (error) {
    if (!(error instanceof NightshiftError) || error.code !== "fleet_unknown") throw error;
    return [bad(`${view.agent}: policy servers`, error.message, error.fix)];
  }
}

function checkReplica({ agent, routes }: AgentView, { name, url, models }: Replica): Finding {
  const check = `${agent}: policy server ${name}`;
  if (models === null)
    return bad(check, `${url} does not answer`, "Start it, or correct the url in policyServers; calls go to the other replicas meanwhile.");
  const named = [routes?.stable.name, routes?.candidate?.name].filter((model) => model !== undefined);
  const missing = named.filter((model) => !models.includes(model));
  if (missing.length === 0) return ok(check, `${url} serves ${named.join(" and ") || models.join(", ")}`);
  return bad(
    check,
    `${url} does not list ${missing.join(" and ")}`,
    "Start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True; `nightshift adapters show` has the reason of a refusal.",
  );
}

function checkWire(agent: string, { captured, examined, dialects, mends, keys }: Report): Finding[] {
  const check = `${agent}: telemetry`;
  if (captured === 0) {
    return [
      warn(
        check,
        "no conversation was captured yet",
        "Point the agent's OTEL_EXPORTER_OTLP_ENDPOINT at the collector and its OPENAI_BASE_URL at the gateway; switch content capture on in its SDK.",
      ),
    ];
  }
  const shares = dialects.map(({ dialect, trajectories, trainable }) => {
    const told = `${dialect}: ${trainable} of ${trajectories} trainable`;
    return trainable > 0 ? ok(check, told) : bad(check, told, mends[0]?.mend ?? "`nightshift report` has the reasons.");
  });
  // A mend that concerns a tenth of the traffic is worth a line here; `report` has them all.
  const worth = mends.filter(({ trajectories }) => trajectories >= examined / 10);
  return [
    ...shares,
    ...worth.map(({ reason, trajectories, mend }) => warn(check, `${reason} on ${trajectories} of ${examined} trajectories`, mend)),
    ...checkKeys(agent, keys),
  ];
}

/** Without a key a chat of several traces falls apart into as many conversations, and a canary cannot keep it on one adapter. */
function checkKeys(agent: string, keys: Report["keys"]): Finding[] {
  const check = `${agent}: conversation key`;
  const all = keys.reduce((sum, { conversations }) => sum + conversations, 0);
  const bare = keys.find(({ kind }) => kind === "trace")?.conversations ?? 0;
  if (bare < all / 10) return [ok(check, `${all - bare} of ${all} conversations are named by the agent`)];
  const told = `${bare} of ${all} conversations are single traces that name neither a conversation nor a session`;
  const fix =
    "Set gen_ai.conversation.id or session.id on the agent's spans and send x-session-id with its model calls; where one trace is one conversation, set gateway.key.traceparent: true.";
  return all === 0 ? [] : [warn(check, told, fix)];
}
