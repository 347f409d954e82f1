import { Hono } from "hono";
import { z } from "zod";
import { nightshiftError } from "../errors.ts";
import { decodeGroup } from "../rollout/encode-group.ts";
import { selfReplay, type ReplayCheck } from "../rollout/replay-check.ts";
import type { FidelityReport, Rollout, RolloutEnd, Rung, TrajectoryGroup } from "../rollout/group.ts";
import { sideBySide, type SideBySide } from "../rollout/side-by-side.ts";
import type { Scenario } from "../scenario/scenario.ts";
import { splitOf, subjectOf } from "../scenario/split.ts";
import type { Message } from "../trace/message.ts";
import { loadTrajectory } from "../trajectory/trajectory-store.ts";
import type { Reason } from "../trajectory/trajectory.ts";
import type { StoredGroup } from "../training/iteration.ts";
import type { ApiDeps } from "./control.ts";
import { agentOf, readQuery } from "./request.ts";
import { findGroup, scopeOf, type Scope } from "./scope.ts";

/** What `POST /replay/:reference` answers: a conversation against its own tape, a group with its members, or one member beside its recording. */
export type ReplayView =
  | { trajectoryId: string; status: "not_trainable"; reasons: Reason[] }
  | ({ trajectoryId: string; status: "replayed"; split: string; messages: readonly Message[] } & ReplayCheck)
  | (GroupHead & { status: "group"; fidelity: FidelityReport; members: MemberView[] })
  | (GroupHead & { status: "rollout"; member: MemberView; members: number } & SideBySide);

interface GroupHead {
  groupId: string;
  runId: string;
  iteration: number;
  scenarioId: string;
  /** The conversation that was replayed; null for a task that was made up. */
  trajectoryId: string | null;
  verdict: string;
  /** How it was played, why so, and where a step comes from. Missing in groups from before there was a choice. */
  played?: TrajectoryGroup["played"];
}

export interface MemberView {
  index: number;
  rolloutId: string;
  reward: number | null;
  end: RolloutEnd;
  callsByRung: Partial<Record<Rung, number>>;
}

/** Replays and shows replays; computes, and writes nothing. */
export function replayRoutes(deps: ApiDeps): Hono {
  const app = new Hono();
  app.post("/replay/:reference", async (context) => {
    const reference = context.req.param("reference");
    const { member } = readQuery(context, z.strictObject({ member: z.coerce.number().int().min(0).optional() }));
    const scope = scopeOf(context, deps);
    const group = await findGroup(scope, reference);
    if (group !== null) return context.json(await showGroup(group, member, scope));
    if (member !== undefined) throw nightshiftError("not_found", { what: `group ${reference}` });
    return context.json(await replay(reference, scope));
  });
  return app;
}

/** Self-replay of one conversation (key, id or trajectory id): its recorded turns through the cascade, against its own tape. */
async function replay(reference: string, scope: Scope): Promise<ReplayView> {
  const db = scope.database.kysely;
  const row = await db
    .selectFrom("trajectories")
    .select(["id", "version"])
    .where("superseded", "=", false)
    .$if(scope.tenant !== null, (query) => query.where("tenant", "=", scope.tenant ?? ""))
    .where((eb) => eb.or([eb("id", "=", reference), eb("conversation_id", "=", reference), eb("conversation_key", "=", reference)]))
    .executeTakeFirst();
  const trajectory = row === undefined ? null : await loadTrajectory(db, row.id, row.version);
  if (trajectory === null) throw nightshiftError("not_found", { what: `conversation or group ${reference}` });
  const control = agentOf(scope, trajectory.agent);
  if (!trajectory.verdict.trainable) return { trajectoryId: trajectory.id, status: "not_trainable", reasons: trajectory.verdict.reasons };
  const recordings = await control.recordings();
  const { subject } = subjectOf(trajectory);
  const split = splitOf(subject, { salt: trajectory.tenant, heldOutShare: control.config.scenario.heldOutShare });
  return {
    trajectoryId: trajectory.id,
    status: "replayed",
    split,
    messages: trajectory.messages,
    ...selfReplay(trajectory, recordings.cascade(split)),
  };
}

async function showGroup(group: StoredGroup, member: number | undefined, deps: Scope): Promise<ReplayView> {
  const bytes = await deps.artifacts.get(group.bodyDigest);
  const recorded = await recordingOf(group, deps);
  if (bytes === null || recorded === null) throw nightshiftError("not_found", { what: `group ${group.id}` });
  const body = decodeGroup(bytes);
  const { id: groupId, runId, iteration, scenarioId, summary } = group;
  const played = body.played === undefined ? {} : { played: body.played };
  const head = { groupId, runId, iteration, scenarioId, trajectoryId: recorded.trajectoryId, verdict: summary.verdict, ...played };
  const members = body.members.map((one, index) => memberView(one, index, summary.rewards));
  if (member === undefined) return { ...head, status: "group", fidelity: body.fidelity, members };
  return { ...head, status: "rollout", members: members.length, ...pick(body, members, member, recorded) };
}

function pick(body: TrajectoryGroup, members: readonly MemberView[], index: number, recorded: Recording) {
  const [view, rollout] = [members[index], body.members[index]];
  if (view === undefined || rollout === undefined) {
    throw nightshiftError("not_found", { what: `member ${index} in group ${body.groupId}: it has 0 to ${members.length - 1}` });
  }
  return { member: view, ...sideBySide(recorded.messages, rollout) };
}

function memberView({ rolloutId, end, journal }: Rollout, index: number, rewards: readonly (number | null)[]): MemberView {
  const callsByRung: MemberView["callsByRung"] = {};
  for (const { rung } of journal) callsByRung[rung] = (callsByRung[rung] ?? 0) + 1;
  return { index, rolloutId, reward: rewards[index] ?? null, end, callsByRung };
}

interface Recording {
  trajectoryId: string | null;
  messages: readonly Message[];
}

/** The version of the conversation that the run was pinned to; nothing was recorded of a made-up task. */
async function recordingOf({ runId, scenarioId }: StoredGroup, { database }: ApiDeps): Promise<Recording | null> {
  const db = database.kysely;
  const row = await db.selectFrom("scenarios").select("body").where("run_id", "=", runId).where("id", "=", scenarioId).executeTakeFirst();
  if (row === undefined) return null;
  const { origin, trajectoryId, trajectoryVersion } = row.body as unknown as Scenario;
  if (origin === "bootstrap") return { trajectoryId: null, messages: [] };
  const trajectory = await loadTrajectory(db, trajectoryId, trajectoryVersion);
  return trajectory === null ? null : { trajectoryId, messages: trajectory.messages };
}
