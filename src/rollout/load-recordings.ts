import type { AgentConfig } from "../config.ts";
import type { Database } from "../store/database.ts";
import type { DrawnWalls, WallMemory } from "../scenario/walls.ts";
import type { Message } from "../trace/message.ts";
import { feedbackOf } from "../trajectory/feedback.ts";
import { listTrajectories, loadTrajectories, type TrajectoryRef } from "../trajectory/trajectory-store.ts";
import type { Reason, Trajectory } from "../trajectory/trajectory.ts";
import { loadToolFunctions } from "./cascade/tool-functions.ts";
import { createRecordings, type Recordings } from "./recordings.ts";

const PAGE = 1_000;

/** Which versions a run was pinned to. */
export interface RecordingPins {
  trajectories: readonly TrajectoryRef[];
  /** The tenant's other conversations. Missing for runs that were pinned before these were counted. */
  others?: readonly TrajectoryRef[];
  /** As the run drew them. Missing for runs from before there were others than users'. */
  walls?: DrawnWalls;
}

/**
 * An agent's captured conversations as of `nowMs`, ready for selection and replay, and the tenant's others, of whose writes replay must know; with `pins`,
 * exactly those trajectory versions. What a candidate served waits for that candidate's decision, and what a rolled-back one served never trains.
 */
export async function loadRecordings(
  database: Database,
  options: { agent: string; config: AgentConfig; nowMs: number; pins?: RecordingPins },
): Promise<Recordings> {
  const { agent, config, nowMs, pins } = options;
  const all = pins === undefined ? await listAll(database, { tenant: config.tenant }) : [];
  const refs = pins?.trajectories ?? all.filter((one) => one.agent === agent && one.verdict.trainable);
  const trained = new Set(refs.map(({ id }) => id));
  const otherRefs = pins?.others ?? all.filter(({ id }) => !trained.has(id));
  const trajectories = await withCandidateRules(database, agent, await loadTrajectories(database.kysely, refs));
  const conversations = [...new Set(trajectories.map((trajectory) => trajectory.conversationId))];
  const feedback = await feedbackOf(database.kysely, config.tenant, conversations);
  const drawn = pins === undefined ? undefined : (pins.walls ?? { cutoffMs: null, heldOutClusters: [] });
  const memory = pins === undefined ? await rememberedWalls(database, { tenant: config.tenant, agent }) : undefined;
  const about = [...feedback].flatMap(([conversationId, items]) => items.map(({ name, value }) => ({ conversationId, name, value })));
  const others = await loadOthers(database, otherRefs);
  const functions = await loadToolFunctions(config.tools);
  return createRecordings({ trajectories, others, feedback: about, config, functions, nowMs, memory, drawn });
}

/** What the agent's newest run knew and decided: each night hands it on to the next. */
async function rememberedWalls(database: Database, of: { tenant: string; agent: string }): Promise<WallMemory | undefined> {
  const row = await database.kysely
    .selectFrom("run_steps")
    .innerJoin("runs", "runs.id", "run_steps.run_id")
    .select("run_steps.output")
    .where("runs.tenant", "=", of.tenant)
    .where("runs.agent", "=", of.agent)
    .where("run_steps.step", "=", "select")
    .where("run_steps.output", "is not", null)
    .orderBy("runs.started_at_ms", "desc")
    .limit(1)
    .executeTakeFirst();
  const pins = row?.output as unknown as RecordingPins | undefined;
  if (pins?.walls === undefined) return undefined;
  return { known: pins.trajectories.map(({ id }) => id), heldOutClusters: pins.walls.heldOutClusters };
}

type Listed = TrajectoryRef & Pick<Trajectory, "agent" | "verdict">;

async function listAll(database: Database, { tenant }: { tenant: string }): Promise<Listed[]> {
  const listed: Listed[] = [];
  for (let cursor: string | null = ""; cursor !== null;) {
    const page = await listTrajectories(database.kysely, { tenant, limit: PAGE, ...(cursor === "" ? {} : { cursor }) });
    listed.push(...page.items.map(({ id, version, agent, verdict }) => ({ id, version, agent, verdict })));
    cursor = page.next;
  }
  return listed;
}

/** Their tool calls are all that is kept of them: page by page, so that nobody holds the texts of a whole tenant. */
async function loadOthers(database: Database, refs: readonly TrajectoryRef[]): Promise<Trajectory[]> {
  const others: Trajectory[] = [];
  for (let from = 0; from < refs.length; from += PAGE) {
    const page = await loadTrajectories(database.kysely, refs.slice(from, from + PAGE));
    others.push(...page.map((trajectory) => ({ ...trajectory, messages: trajectory.messages.flatMap(onlyTools) })));
  }
  return others;
}

/** Turns keep their places, by which the writes that branches share are known. */
function onlyTools(message: Message): Message[] {
  const parts = message.parts.filter((part) => part.type === "tool_call" || part.type === "tool_call_response");
  return parts.length > 0 || message.role === "assistant" ? [{ ...message, parts }] : [];
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
