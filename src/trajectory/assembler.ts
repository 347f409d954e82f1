import type { Kysely, Selectable } from "kysely";
import type { Config } from "../config.ts";
import { NightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Database } from "../store/database.ts";
import { holdErasures } from "../store/erased-sources.ts";
import type { Tables } from "../store/tables.ts";
import { createCounter } from "../telemetry/instruments.ts";
import { METRIC } from "../telemetry/metrics.ts";
import type { Call } from "../trace/call.ts";
import { normalise } from "../trace/normalise.ts";
import { openTraces } from "../trace/span-store.ts";
import type { LogEvent } from "../trace/span.ts";
import { assemble, type Draft } from "./assemble.ts";
import { completionOf, toolCallDangles } from "./complete.ts";
import { awaitsReference, prepare, type Preparation, type Prepared, withMedia } from "./prepare.ts";
import { resolveReferences } from "./references.ts";
import { type DueConversation, giveBackDue, takeDue } from "./due-conversations.ts";
import { closeConversations, type Judged, saveTrajectories } from "./save-trajectories.ts";
import { learnToolSchemas, loadToolRegistries, withKnownTools } from "./tool-registry.ts";
import type { Trajectory } from "./trajectory.ts";
import { verdictOf } from "./verdict.ts";

export interface Assembler {
  /**
   * Assembles, judges and saves every conversation that is complete at `nowMs` and that no other sweep is at, in batches of bounded size. Resolves to the trajectory versions that are new.
   * Idempotent; a conversation that gets another delivery meanwhile is left for the next sweep. Rejects when `signal` aborts, between two batches.
   */
  sweep(nowMs: number, options?: { signal?: AbortSignal }): Promise<Trajectory[]>;
}

type Conversation = Selectable<Tables["conversations"]>;
interface Loaded {
  conversation: Conversation;
  calls: readonly Call[];
}

/** Whoever closes a conversation holds its row, and another sweep finds it closed; what is decided on is read after that. */
const READ_COMMITTED = { isolation: "read committed" } as const;
const BATCH_CONVERSATIONS = 100;
/** Stored bytes of spans that are decoded at once: what lives longer than a moment costs more to collect. One larger conversation is a batch of its own. */
const BATCH_BYTES = 8 * 1024 * 1024;
/** Of what a batch's spans refer to. */
const REFERRED_BYTES = 32 * 1024 * 1024;
/** A conversation that cannot be assembled is tried again this much later: the next version may read what this one does not. */
const SET_ASIDE_MS = 3_600_000;

interface AssemblerDeps extends Partial<Preparation> {
  database: Database;
  config: Config;
  log: Logger;
}

/** Turns complete conversations into trajectories. Config and store are its only state: any number of sweeps, in any process, give the same. */
export function createAssembler({ database, config, log, ...given }: AssemblerDeps): Assembler {
  const preparation: Preparation = { references: null, media: null, examiner: null, ...given };
  const countVerdicts = createVerdictCount();
  const assembleBatch = async (batch: readonly Conversation[], nowMs: number, signal?: AbortSignal): Promise<Trajectory[]> => {
    const loaded = await loadCalls(database.kysely, batch, preparation);
    const complete: Loaded[] = [];
    const waiting: { id: string; arrivals: number; untilMs: number }[] = [];
    for (const item of loaded) {
      const recheckAtMs = recheckAt(item, preparation, config.capture, nowMs);
      if (recheckAtMs === null) complete.push(item);
      else waiting.push({ id: item.conversation.id, arrivals: item.conversation.arrivals, untilMs: recheckAtMs });
    }
    const due = await prepared(complete, preparation, signal);
    const drafts = new Map(due.map((item) => [item.conversation.id, draftsOf(item, config)]));
    const closings = due.map(({ conversation }) => closing(conversation, drafts.get(conversation.id) ?? []));
    return database.transaction(async (trx) => {
      // A message that an erasure is removing, because nobody else uses it, would be one that this transaction takes for stored.
      await holdErasures(trx);
      await postpone(trx, waiting);
      const closed = await closeConversations(trx, closings);
      const kept = [...closed].flatMap((id) => drafts.get(id) ?? []);
      await learnToolSchemas(trx, kept);
      return saveTrajectories(trx, [...closed], await judge(trx, kept, config));
    }, READ_COMMITTED);
  };
  const setAside = async ({ id, tenant, arrivals }: Conversation, nowMs: number, error: unknown): Promise<void> => {
    log.error({ err: error, conversation_id: id, tenant }, "conversation could not be assembled");
    await database.transaction((trx) => postpone(trx, [{ id, arrivals, untilMs: nowMs + SET_ASIDE_MS }]));
  };
  return {
    sweep: async (nowMs, { signal } = {}) => {
      const created: Trajectory[] = [];
      let after = "";
      for (let more = true; more;) {
        signal?.throwIfAborted();
        const taken = await takeDue(database.kysely, { nowMs, after, limit: BATCH_CONVERSATIONS, limits: config.capture });
        after = taken.at(-1)?.id ?? "";
        const act = { assembleBatch: (batch: readonly Conversation[], nowMs: number) => assembleBatch(batch, nowMs, signal), setAside };
        try {
          for (const batch of batches(taken)) {
            const assembled = await assembleApart(batch, nowMs, act, signal);
            countVerdicts(assembled);
            created.push(...assembled);
          }
        } catch (error) {
          // A database that is away gives them back by itself, later.
          await giveBackDue(database.kysely, taken).catch(() => undefined);
          throw error;
        }
        more = taken.length === BATCH_CONVERSATIONS;
      }
      if (created.length > 0)
        log.info(
          { trajectories: created.length, trainable: created.filter(({ verdict }) => verdict.trainable).length },
          "conversations assembled",
        );
      return created;
    },
  };
}

/** What one conversation makes fail, whatever it is, holds back no other. Only a database that does not answer fails them all. */
async function assembleApart(
  batch: readonly Conversation[],
  nowMs: number,
  act: {
    assembleBatch: (batch: readonly Conversation[], nowMs: number) => Promise<Trajectory[]>;
    setAside: (conversation: Conversation, nowMs: number, error: unknown) => Promise<void>;
  },
  signal: AbortSignal | undefined,
): Promise<Trajectory[]> {
  try {
    return await act.assembleBatch(batch, nowMs);
  } catch (error) {
    // A worker that is told to stop has found nothing wrong with its conversations: they are the next one's.
    if (signal?.aborted === true || (error instanceof NightshiftError && error.retryable)) throw error;
    const [only, ...others] = batch;
    if (only !== undefined && others.length === 0) {
      await act.setAside(only, nowMs, error);
      return [];
    }
    const each: Trajectory[] = [];
    for (const conversation of batch) each.push(...(await assembleApart([conversation], nowMs, act, signal)));
    return each;
  }
}

function createVerdictCount(): (created: readonly Trajectory[]) => void {
  const trajectories = createCounter(METRIC.assemblyTrajectories);
  const untrainable = createCounter(METRIC.assemblyReasons);
  return (created) => {
    for (const { agent, verdict } of created) {
      trajectories.add(1, { "nightshift.agent": agent, "nightshift.outcome": verdict.trainable ? "trainable" : "untrainable" });
      for (const reason of verdict.reasons) untrainable.add(1, { "nightshift.agent": agent, "nightshift.reason": reason });
    }
  };
}

function batches(candidates: readonly DueConversation[]): DueConversation[][] {
  const result: DueConversation[][] = [];
  let room = 0;
  for (const candidate of candidates) {
    const bytes = candidate.bytes ?? 0;
    if (result.length === 0 || bytes > room) {
      result.push([]);
      room = BATCH_BYTES;
    }
    result.at(-1)?.push(candidate);
    room -= bytes;
  }
  return result;
}

async function loadCalls(db: Kysely<Tables>, batch: readonly Conversation[], { references }: Preparation): Promise<Loaded[]> {
  const traces = await db
    .selectFrom("conversation_traces")
    .select(["tenant", "trace_id", "conversation_id"])
    .where(
      "conversation_id",
      "in",
      batch.map(({ id }) => id),
    )
    .execute();
  const byConversation = new Map<string, Call[]>(batch.map(({ id }) => [id, []]));
  const budget = { left: REFERRED_BYTES, isSpent: false };
  for (const tenant of new Set(traces.map((trace) => trace.tenant))) {
    const own = new Map(traces.filter((trace) => trace.tenant === tenant).map((trace) => [trace.trace_id, trace.conversation_id]));
    const stored = await openTraces(db, tenant, [...own.keys()]);
    const { spans, logs } =
      references === null ? stored : await resolveReferences(tenant, { ...stored, spans: [...stored.spans] }, references, budget);
    // Each is tried again alone: what others refer to must not leave it without what it refers to.
    if (budget.isSpent && batch.length > 1) throw new Error("these conversations refer to more than is read at once");
    const logsBySpan = Map.groupBy(logs, (entry: LogEvent) => `${entry.traceId}/${entry.spanId}`);
    for (const span of spans) {
      const call = normalise(span, logsBySpan.get(`${span.traceId}/${span.spanId}`) ?? []);
      byConversation.get(own.get(span.traceId) ?? "")?.push(call);
    }
  }
  return batch.map((conversation) => ({ conversation, calls: byConversation.get(conversation.id) ?? [] }));
}

/** When to look again; null for a conversation that is complete now. */
function recheckAt(item: Loaded, preparation: Preparation, limits: Config["capture"], nowMs: number): number | null {
  const completion = completionOf(stateOf(item), limits, nowMs);
  if (completion.state === "open") return completion.recheckAtMs;
  const patientUntilMs = item.conversation.last_received_ms + limits.idleMs;
  if (nowMs >= patientUntilMs || !awaitsReference(item.calls, preparation)) return null;
  return Math.min(nowMs + Math.max(limits.graceMs, limits.sweepMs), patientUntilMs);
}

async function prepared(
  items: readonly Loaded[],
  preparation: Preparation,
  signal: AbortSignal | undefined,
): Promise<(Loaded & Prepared)[]> {
  const results = await prepare(
    items.map(({ conversation: { tenant, id, arrivals }, calls }) => ({ tenant, id, arrivals, calls })),
    preparation,
    signal,
  );
  return items.map(({ conversation }, index) => ({ conversation, ...(results[index] ?? { calls: [], digests: new Set() }) }));
}

function stateOf({ conversation, calls }: Loaded) {
  return {
    firstReceivedMs: conversation.first_received_ms,
    lastReceivedMs: conversation.last_received_ms,
    rootEndedMs: conversation.root_ended_ms,
    toolCallDangles: toolCallDangles(calls),
  };
}

function draftsOf({ conversation, calls, digests }: Loaded & Prepared, config: Config): Draft[] {
  const { id, key, tenant, agent } = conversation;
  return withMedia(assemble({ id, key, tenant, agent }, calls, config.agents), digests);
}

/** The conversation belongs to the agent of its first trajectory: sub-agents may be agents of their own. */
function closing({ id, arrivals, agent }: Conversation, drafts: readonly Draft[]) {
  return { id, arrivals, agent: drafts.find((draft) => draft.trajectory.parentId === null)?.trajectory.agent ?? agent };
}

async function postpone(trx: Kysely<Tables>, waiting: readonly { id: string; arrivals: number; untilMs: number }[]): Promise<void> {
  for (const { id, arrivals, untilMs } of waiting) {
    await trx.updateTable("conversations").set({ not_before_ms: untilMs }).where("id", "=", id).where("arrivals", "=", arrivals).execute();
  }
}

async function judge(trx: Kysely<Tables>, drafts: readonly Draft[], config: Config): Promise<Judged[]> {
  const judged: Judged[] = [];
  for (const [tenant, own] of Map.groupBy(drafts, (draft) => draft.trajectory.tenant)) {
    const agents = [...new Set(own.map((draft) => draft.trajectory.agent))];
    const registries = await loadToolRegistries(trx, tenant, agents);
    const trainingConsent = config.tenants[tenant]?.trainingConsent ?? "deny";
    for (const draft of own) {
      const filled = withKnownTools(draft, registries.get(draft.trajectory.agent) ?? new Map());
      judged.push({ ...filled.trajectory, verdict: verdictOf(filled, { trainingConsent }) });
    }
  }
  return judged;
}
