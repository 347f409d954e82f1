import type { ArtifactStore } from "../artifact/artifact-store.ts";
import { nightshiftError, type NightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { examineRewards, type Check, type Examination, type NewPhrase } from "../reward/hacking/examine.ts";
import { featuresOf, type MemberFeatures } from "../reward/hacking/features.ts";
import { decodeGroup } from "../rollout/encode-group.ts";
import type { Database } from "../store/database.ts";
import { createCounter } from "../telemetry/instruments.ts";
import { METRIC } from "../telemetry/metrics.ts";
import { loadGroups, type StoredGroup } from "./iteration.ts";
import { auditOfRun } from "./judge-audit.ts";
import type { Run, RunStore } from "./run-store.ts";

/** A suspicion that a run's rewards pay for something beside the task. Its candidate waits until an operator has looked. */
export interface Alarm {
  runId: string;
  /** The suspicion: one alarm of a kind per run. */
  id: Check["suspicion"];
  tenant: string;
  agent: string;
  check: Check;
  phrases: NewPhrase[];
  raisedAtMs: number;
  acknowledged: { atMs: number; by: string; reason: string } | null;
}

export interface AlarmDeps {
  database: Database;
  artifacts: ArtifactStore;
  runs: RunStore;
  log: Logger;
  now: () => number;
}

/** Base groups that are read of an earlier run, at most. */
const MAX_BASE_GROUPS = 200;
const MAX_REASON_CHARS = 500;

/** Examines a run's rewards, once, and keeps what it raises. Durable step `alarms`. Resolves to the run's alarms that nobody has acknowledged. */
export async function examineRun(run: Run, deps: AlarmDeps): Promise<Alarm[]> {
  await deps.runs.step<{ checks: Check[]; base: string }>(run.id, "alarms", async () => {
    const { examination, base } = await examine(run, deps);
    const audit = await auditOfRun(deps.runs, run.id);
    const checks = audit === null ? examination.checks : [...examination.checks, audit.check];
    await raise(run, { ...examination, checks }, deps);
    return { checks, base };
  });
  const alarms = await listAlarms(deps.database, { runId: run.id });
  return alarms.filter(({ acknowledged }) => acknowledged === null);
}

async function examine(run: Run, deps: AlarmDeps): Promise<{ examination: Examination; base: string }> {
  const groups = await loadGroups(deps.database, run.id);
  const base = await baseGroups(run, groups, deps);
  const known = new Map<string, MemberFeatures[]>();
  const read = async (list: readonly StoredGroup[]): Promise<MemberFeatures[]> => {
    for (const group of list) if (!known.has(group.id)) known.set(group.id, await featuresOfGroup(group, deps));
    return list.flatMap(({ id }) => known.get(id) ?? []);
  };
  const kept = groups.filter(({ summary }) => summary.verdict === "kept");
  return { examination: examineRewards(await read(kept), await read(base.groups)), base: base.of };
}

/** What the base model itself said: of this run, where it started there, else of the newest run that did and is still stored. Failing both, what this run started from. */
async function baseGroups(run: Run, own: readonly StoredGroup[], { database }: AlarmDeps): Promise<{ groups: StoredGroup[]; of: string }> {
  const first = own.filter(({ iteration }) => iteration === 1);
  const started = await database.kysely
    .selectFrom("run_steps")
    .innerJoin("runs", "runs.id", "run_steps.run_id")
    .select(["runs.id", "run_steps.output"])
    .where("runs.tenant", "=", run.tenant)
    .where("runs.agent", "=", run.agent)
    .where("runs.started_at_ms", "<=", run.startedAtMs)
    .where("run_steps.step", "=", "prepare")
    .where("run_steps.finished_at_ms", "is not", null)
    .orderBy("runs.started_at_ms", "desc")
    .execute();
  const fromBase = started.filter(({ output }) => output?.["adapterDigest"] === null).map(({ id }) => id);
  for (const id of fromBase) {
    const groups = id === run.id ? first : (await loadGroups(database, id, 1)).slice(0, MAX_BASE_GROUPS);
    if (groups.length > 0) return { groups, of: id === run.id ? "this run's first iteration" : `run ${id}` };
  }
  return { groups: first, of: "this run's first iteration, by an adapter" };
}

/** Nothing where the body is gone with its subject. */
async function featuresOfGroup(group: StoredGroup, { artifacts }: AlarmDeps): Promise<MemberFeatures[]> {
  const body = await artifacts.get(group.bodyDigest);
  return body === null ? [] : featuresOf(decodeGroup(body), group.summary.rewards);
}

async function raise(run: Run, { checks, phrases }: Examination, { database, log, now }: AlarmDeps): Promise<void> {
  const raised = createCounter(METRIC.alarms);
  for (const check of checks) {
    if (check.status !== "alarm") continue;
    const body = { check, phrases: check.suspicion === "phrase" ? phrases : [] };
    const row = await database.kysely
      .insertInto("alarms")
      .values({
        ...{ run_id: run.id, id: check.suspicion, tenant: run.tenant, agent: run.agent, body: JSON.stringify(body), raised_at_ms: now() },
        ...{ acknowledged_at_ms: null, acknowledged_by: null, reason: null },
      })
      .onConflict((conflict) => conflict.columns(["run_id", "id"]).doNothing())
      .returning("id")
      .executeTakeFirst();
    if (row === undefined) continue;
    raised.add(1, { "nightshift.agent": run.agent, "nightshift.reason": check.suspicion });
    log.warn({ run_id: run.id, alarm: check.suspicion, explained: check.explained }, "rewards pay for something beside the task");
  }
}

/** Newest first. */
export async function listAlarms(
  database: Database,
  filter: { runId?: string; tenant?: string; agent?: string; open?: boolean; limit?: number },
): Promise<Alarm[]> {
  let query = database.kysely
    .selectFrom("alarms")
    .selectAll()
    .orderBy("raised_at_ms", "desc")
    .orderBy("id")
    .limit(filter.limit ?? 1_000);
  if (filter.runId !== undefined) query = query.where("run_id", "=", filter.runId);
  if (filter.tenant !== undefined) query = query.where("tenant", "=", filter.tenant);
  if (filter.agent !== undefined) query = query.where("agent", "=", filter.agent);
  if (filter.open === true) query = query.where("acknowledged_at_ms", "is", null);
  return (await query.execute()).map((row) => ({
    ...{ runId: row.run_id, id: row.id as Alarm["id"], tenant: row.tenant, agent: row.agent, raisedAtMs: row.raised_at_ms },
    ...(row.body as unknown as Pick<Alarm, "check" | "phrases">),
    acknowledged:
      row.acknowledged_at_ms === null ? null : { atMs: row.acknowledged_at_ms, by: row.acknowledged_by ?? "", reason: row.reason ?? "" },
  }));
}

export function unknownAlarm({ runId, id }: { runId: string; id: string }): NightshiftError {
  return nightshiftError("not_found", { what: `alarm ${id} of run ${runId}` });
}

/**
 * An operator has looked and lets the candidate go on to the gate. The first acknowledgement stands; it is in the audit log.
 * @throws NightshiftError `not_found`
 */
export async function acknowledgeAlarm(
  alarm: { runId: string; id: string; by: string; reason: string },
  { database, now }: { database: Database; now: () => number },
): Promise<{ status: "acknowledged" | "known_already" }> {
  const { runId, id, by } = alarm;
  const reason = alarm.reason.slice(0, MAX_REASON_CHARS);
  return database.transaction(async (trx) => {
    const row = await trx
      .selectFrom("alarms")
      .select("acknowledged_at_ms")
      .where("run_id", "=", runId)
      .where("id", "=", id)
      .forUpdate()
      .executeTakeFirst();
    if (row === undefined) throw unknownAlarm(alarm);
    if (row.acknowledged_at_ms !== null) return { status: "known_already" };
    const atMs = now();
    await trx
      .updateTable("alarms")
      .set({ acknowledged_at_ms: atMs, acknowledged_by: by, reason })
      .where("run_id", "=", runId)
      .where("id", "=", id)
      .execute();
    await trx
      .insertInto("audit")
      .values({ at_ms: atMs, actor: by, action: "alarm_acknowledged", subject: runId, body: JSON.stringify({ alarm: id, reason }) })
      .execute();
    return { status: "acknowledged" };
  });
}
