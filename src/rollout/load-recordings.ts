import type { AgentConfig } from "../config.ts";
import type { Database } from "../store/database.ts";
import { feedbackOf } from "../trajectory/feedback.ts";
import { listTrajectories, loadTrajectories, type TrajectoryRef } from "../trajectory/trajectory-store.ts";
import type { Reason, Trajectory } from "../trajectory/trajectory.ts";
import { createRecordings, type Recordings } from "./recordings.ts";

const PAGE = 1_000;

/**
 * An agent's captured conversations as of `nowMs`, ready for selection and replay; with `pins`, exactly those trajectory versions.
 * What a candidate served waits for that candidate's decision, and what a rolled-back one served never trains.
 */
export async function loadRecordings(
  database: Database,
  options: { agent: string; config: AgentConfig; nowMs: number; pins?: ReadonlyMap<string, number> },
): Promise<Recordings> {
  const { agent, config, nowMs, pins } = options;
  const refs =
    pins === undefined ? await allTrainable(database, config.tenant, agent) : [...pins].map(([id, version]) => ({ id, version }));
  const trajectories = await withCandidateRules(database, agent, await loadTrajectories(database.kysely, refs));
  const conversations = [...new Set(trajectories.map((trajectory) => trajectory.conversationId))];
  const feedback = await feedbackOf(database.kysely, config.tenant, conversations);
  const about = [...feedback].flatMap(([conversationId, items]) => items.map(({ name, value }) => ({ conversationId, name, value })));
  return createRecordings({ trajectories, feedback: about, config, nowMs });
}

async function allTrainable(database: Database, tenant: string, agent: string): Promise<TrajectoryRef[]> {
  const refs: TrajectoryRef[] = [];
  for (let cursor: string | null = ""; cursor !== null;) {
    const page = await listTrajectories(database.kysely, {
      tenant,
      agent,
      trainable: true,
      limit: PAGE,
      ...(cursor === "" ? {} : { cursor }),
    });
    refs.push(...page.items.map(({ id, version }) => ({ id, version })));
    cursor = page.next;
  }
  return refs;
}

async function withCandidateRules(database: Database, agent: string, trajectories: readonly Trajectory[]): Promise<Trajectory[]> {
  const rows = await database.kysely.selectFrom("experiments").select(["id", "state", "ended_at_ms"]).where("agent", "=", agent).execute();
  const banned = new Map<string, Reason>();
  for (const { id, state, ended_at_ms: endedAtMs } of rows) {
    if (state === "rolled_back") banned.set(id, "served_by_rolled_back");
    else if (endedAtMs === null) banned.set(id, "candidate_undecided");
  }
  return trajectories.map((trajectory) => {
    const { assignment, verdict } = trajectory;
    const reason = assignment?.arm === "candidate" ? banned.get(assignment.experimentId ?? "") : undefined;
    return reason === undefined ? trajectory : { ...trajectory, verdict: { trainable: false, reasons: [...verdict.reasons, reason] } };
  });
}
