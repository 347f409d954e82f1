import { encodeGroup } from "../../src/rollout/encode-group.ts";
import { rolloutGroup } from "../../src/rollout/loop.ts";
import type { ArtifactStore } from "../../src/artifact/artifact-store.ts";
import { createExperimentStore } from "../../src/promotion/experiment-store.ts";
import { createAttestationStore } from "../../src/serving/attestation-store.ts";
import { createDesiredAdapterStore } from "../../src/serving/desired-adapters.ts";
import type { GatewayRouter } from "../../src/promotion/gateway-router.ts";
import type { Database } from "../../src/store/database.ts";
import { saveTrajectories } from "../../src/trajectory/save-trajectories.ts";
import { registerAdapter, type RegisteredAdapter } from "../../src/training/adapters.ts";
import type { RunStore } from "../../src/training/run-store.ts";
import type { SigningKey } from "../../src/artifact/signing-key.ts";
import { QUICKSTART } from "../bench/canary/simulate.ts";
import { conversation, lookup, refund } from "../rollout/build.ts";
import { planOf, scenarioOf } from "../rollout/plan.ts";
import { createScriptedPolicy } from "../rollout/scripted-policy.ts";

interface Deps {
  database: Database;
  artifacts: ArtifactStore;
  runs: RunStore;
  router: GatewayRouter;
  key: SigningKey;
  /** Files of every adapter. */
  trained: string;
}

/** Under which names a tenant's rows can be asked for. Its assignment key and its conversation's key are the same in every tenant. */
export interface TenantRows {
  tenant: string;
  agent: string;
  trajectory: string;
  conversation: string;
  response: string;
  run: string;
  group: string;
  experiment: string;
  subject: string;
  adapter: RegisteredAdapter;
}

const AT_MS = 1_000_000;

/** One row of everything that the API shows, as one agent's conversation, night and canary leave them. */
export async function fillTenant({ tenant, agent }: { tenant: string; agent: string }, deps: Deps): Promise<TenantRows> {
  const { database, artifacts, runs, router } = deps;
  const names = { trajectory: `${agent}-c`, conversation: `${agent}-c`, response: `resp-${agent}`, subject: `customer of ${agent}` };
  const recorded = conversation(names.trajectory, [lookup(`A-${agent}`), refund(`A-${agent}`)], {
    says: `the secret of ${agent}, about A-${agent}`,
    user: names.subject,
    overrides: { tenant, agent, conversationKey: "the same everywhere", responseIds: [names.response] },
  });
  await database.transaction((trx) => saveTrajectories(trx, [recorded.conversationId], [recorded]));
  const run = `run-${agent}`;
  await runs.create({ id: run, tenant, agent, plan: {}, nowMs: AT_MS });
  await runs.step(run, "select", () => Promise.resolve({ trajectories: [{ id: recorded.id, version: 1 }], trainScenarios: 1 }));
  const policy = createScriptedPolicy(() => ({ calls: [{ tool: "lookup_order", args: { order_id: `A-${agent}` } }] }));
  const group = await rolloutGroup(planOf(recorded, policy, { runId: run }));
  const { digest } = await artifacts.put(encodeGroup(group));
  const scenario = scenarioOf(recorded);
  const { kysely } = database;
  await kysely
    .insertInto("scenarios")
    .values({ run_id: run, id: scenario.id, split: "train", body: JSON.stringify(scenario) })
    .execute();
  const summary = JSON.stringify({ verdict: "kept", rewards: [0.1, 0.5, 0.9] });
  await kysely
    .insertInto("groups")
    .values({ id: group.groupId, run_id: run, iteration: 1, scenario_id: scenario.id, body_digest: digest, summary })
    .execute();
  const lineage = {
    run_id: run,
    groups: [{ group_id: group.groupId, iteration: 1, scenario_id: scenario.id, conversation_id: recorded.id }],
  };
  const adapter = await registerAdapter(
    {
      ...{ directory: deps.trained, tenant, agent, runId: run, iteration: 1, rank: 4, nowMs: AT_MS, parentDigest: null },
      ...{ baseDigest: `sha256:${"0".repeat(64)}`, lineage: new TextEncoder().encode(JSON.stringify(lineage)) },
    },
    deps,
  );
  await writeServing({ tenant, agent, run }, adapter, deps);
  await writeOpinions({ tenant, agent, run, subject: names.subject, conversation: recorded.id }, database);
  await router.setRoutes({
    ...{ agent, model: agent, version: 1, generation: 0, stable: { name: adapter.name, digest: adapter.digest } },
    ...{ candidate: null, experimentId: null, salt: null },
  });
  return { tenant, agent, run, group: group.groupId, experiment: `experiment-${agent}`, adapter, ...names };
}

/** An experiment with evidence, a report of a replica, what replicas must hold. */
async function writeServing(
  { tenant, agent, run }: { tenant: string; agent: string; run: string },
  adapter: RegisteredAdapter,
  { database }: Deps,
): Promise<void> {
  const target = { name: adapter.name, digest: adapter.digest };
  const experiments = createExperimentStore({ database, now: () => AT_MS });
  const id = `experiment-${agent}`;
  await experiments.submit({
    ...{ id, tenant, agent, model: agent, runId: run, salt: id, canary: QUICKSTART, horizonMs: 1_000, gate: null, automatic: true },
    ...{ candidate: target, stable: { name: agent, digest: "sha256:base" } },
  });
  await experiments.append(id, 0, [{ kind: "look", atMs: AT_MS }]);
  const figures = { probeTokens: 256, slope: 1, t: 9, baseGap: 0 };
  await createAttestationStore(database).save({ ...target, replica: "r0", instance: "i", atMs: AT_MS, status: "attested", figures });
  await createDesiredAdapterStore(database).save({ agent, adapters: [target], stable: target.name });
}

/** A suspicion, a calibration, feedback, and the conversation that they are about. */
async function writeOpinions(
  { tenant, agent, run, subject, conversation: id }: { tenant: string; agent: string; run: string; subject: string; conversation: string },
  { kysely }: Database,
): Promise<void> {
  const check = { suspicion: "length", status: "alarm", explained: 0.5, threshold: 0.2, groups: 9 };
  await kysely
    .insertInto("alarms")
    .values({
      ...{ run_id: run, id: "length", tenant, agent, body: JSON.stringify({ check, phrases: [] }), raised_at_ms: AT_MS },
      ...{ acknowledged_at_ms: null, acknowledged_by: null, reason: null },
    })
    .execute();
  const calibration = { id: `calibration-${agent}`, tenant, agent, createdAtMs: AT_MS, report: { agreement: null } };
  await kysely
    .insertInto("judge_calibrations")
    .values({ id: calibration.id, tenant, agent, identity: "judge", body: JSON.stringify(calibration), created_at_ms: AT_MS })
    .execute();
  await kysely
    .insertInto("feedback")
    .values({
      tenant,
      target_kind: "conversation",
      target: id,
      name: "task_success",
      source: agent,
      value: JSON.stringify({ value: true }),
      at_ms: AT_MS,
    })
    .execute();
  const times = { first_received_ms: AT_MS, last_received_ms: AT_MS, root_ended_ms: AT_MS, version: 1 };
  await kysely
    .insertInto("conversations")
    .values({ id, tenant, agent, key_kind: "conversation", key: "the same everywhere", state: "complete", ...times } as never)
    .execute();
  await kysely
    .insertInto("trace_subjects")
    .values({ tenant, subject, trace_id: `trace-${agent}` })
    .execute();
  await kysely
    .insertInto("conversation_traces")
    .values({ tenant, trace_id: `trace-${agent}`, conversation_id: id, root_ended_ms: AT_MS })
    .execute();
}
