import type { AgentConfig } from "../config.ts";
import type { Trajectory } from "../trajectory/trajectory.ts";
import { clusterItems, maskedText, MIN_SIMILARITY, similarityOf } from "./cluster.ts";
import { firstUserText } from "./first-turn.ts";
import type { Split } from "./scenario.ts";
import { hashedShare, splitOf, subjectOf } from "./split.ts";

/** Where a conversation stands. */
export interface Place {
  /** Whose tapes its own is one of. */
  split: Split;
  /** `own`: its tape answers no other conversation tonight. */
  serves: "split" | "own";
  /** The wall that keeps it from being a scenario tonight; null where none does. */
  wall: "held_out_cluster" | "after_cutoff" | "before_cutoff" | null;
}

/** What of the walls cannot be told again from the conversations alone: a run keeps it beside its pins. */
export interface DrawnWalls {
  /** Training ends and evaluation begins here; null: no wall of time. */
  cutoffMs: number | null;
  /** Trajectories by id that are in clusters of evaluation. */
  heldOutClusters: readonly string[];
}

/** What an earlier night knew and decided, by trajectory id: a cluster never changes its side while one of its conversations is remembered. */
export interface WallMemory {
  known: readonly string[];
  heldOutClusters: readonly string[];
}

export interface Walls extends DrawnWalls {
  placeOf(trajectory: Trajectory): Place;
}

export interface WallsInput {
  trajectories: readonly Trajectory[];
  config: AgentConfig["scenario"];
  nowMs: number;
  memory?: WallMemory | undefined;
  /** As a run has drawn them: then nothing is decided again. */
  drawn?: DrawnWalls | undefined;
}

/** Held-out texts that a conversation between the sides is compared with. */
const MAX_COMPARED = 200;

/**
 * The walls between training and evaluation, by user, by cluster and by time. Users and clusters are hashed, with the tenant as salt; a cluster is decided once, and of a cluster that
 * joins both sides what is new goes to evaluation where it is like something held out. Time: training ends where evaluation begins, as far as both sides have enough. Pure; the order of the
 * trajectories does not matter.
 */
export function drawWalls(input: WallsInput): Walls {
  const heldOut = new Set(input.drawn?.heldOutClusters ?? heldOutClustersOf(input));
  const sideOf = (trajectory: Trajectory): "user" | "cluster" | null => {
    const { heldOutShare } = input.config;
    if (splitOf(subjectOf(trajectory).subject, { salt: trajectory.tenant, heldOutShare }) === "held_out") return "user";
    return heldOut.has(trajectory.id) ? "cluster" : null;
  };
  const cutoffMs = input.drawn === undefined ? cutoffOf(input, sideOf) : input.drawn.cutoffMs;
  return {
    cutoffMs,
    heldOutClusters: [...heldOut].sort(),
    placeOf(trajectory) {
      const side = sideOf(trajectory);
      if (side === "cluster") return { split: "held_out", serves: "split", wall: "held_out_cluster" };
      if (side === "user") {
        const isOld = cutoffMs !== null && trajectory.startedAtMs <= cutoffMs;
        return { split: "held_out", serves: "split", wall: isOld ? "before_cutoff" : null };
      }
      // Tomorrow it may train: evaluation must not lean on it either.
      if (cutoffMs !== null && trajectory.endedAtMs > cutoffMs) return { split: "held_out", serves: "own", wall: "after_cutoff" };
      return { split: "train", serves: "split", wall: null };
    },
  };
}

interface Member {
  id: string;
  tenant: string;
  text: string;
}

/** Clusters of texts, whatever the toolset: a new version of a tool must not bring a held-out task to the other side. */
function heldOutClustersOf({ trajectories, config, memory }: WallsInput): readonly string[] {
  const share = config.heldOutClusterShare;
  const remembered = new Set(memory?.heldOutClusters ?? []);
  const trained = new Set((memory?.known ?? []).filter((id) => !remembered.has(id)));
  const members: Member[] = trajectories.map((one) => ({ id: one.id, tenant: one.tenant, text: firstUserText(one) }));
  if (share === 0 && remembered.size === 0) return [];
  const clusters = clusterItems(members.map(({ id, text }) => ({ id, text, toolsetHash: "" })));
  const byCluster = Map.groupBy(members, ({ id }) => clusters.get(id) ?? "");
  return [...byCluster].flatMap(([cluster, all]) => {
    const heldOut = all.filter(({ id }) => remembered.has(id));
    const training = all.filter(({ id }) => trained.has(id));
    if (heldOut.length === 0) {
      const isNew = training.length === 0;
      // What is most of the traffic must not be lost to training by one draw.
      const isSmall = all.length <= share * members.length;
      const place = hashedShare("cluster", all[0]?.tenant ?? "", cluster);
      return isNew && isSmall && place < share ? all.map(({ id }) => id) : [];
    }
    return (training.length === 0 ? all : betweenSides(all, heldOut, training)).map(({ id }) => id);
  });
}

/** Of a cluster that grew together from both sides: what was held out, and of the new what is like it. What has trained before stays where it is. */
function betweenSides(all: readonly Member[], heldOut: readonly Member[], training: readonly Member[]): readonly Member[] {
  const heldOutIds = new Set(heldOut.map(({ id }) => id));
  const trainedIds = new Set(training.map(({ id }) => id));
  const trainedTexts = new Set(training.map(({ text }) => maskedText(text)));
  const compared = [...new Set(heldOut.map(({ text }) => maskedText(text)))].sort().slice(0, MAX_COMPARED);
  const known = new Map<string, boolean>();
  const isLikeHeldOut = (text: string): boolean => {
    const isLike = known.get(text) ?? compared.some((other) => similarityOf(text, other) >= MIN_SIMILARITY);
    known.set(text, isLike);
    return isLike;
  };
  return all.filter(({ id, text }) => {
    if (heldOutIds.has(id)) return true;
    const masked = maskedText(text);
    return !trainedIds.has(id) && !trainedTexts.has(masked) && isLikeHeldOut(masked);
  });
}

/**
 * The latest moment that leaves evaluation its span and its number of conversations. Null where there are not so many, or where training would lose more than its share: a night without this
 * wall is worth more than none.
 */
function cutoffOf(
  { trajectories, config, nowMs }: WallsInput,
  sideOf: (trajectory: Trajectory) => "user" | "cluster" | null,
): number | null {
  const { minMs, minConversations, maxTrainLoss } = config.evaluationWindow;
  if (minConversations === 0) return null;
  const usable = newestVersions(trajectories).filter((one) => one.verdict.trainable && one.endedAtMs <= nowMs - config.quarantineMs);
  const begins = usable.flatMap((one) => (sideOf(one) === "user" ? [one.startedAtMs] : [])).sort((a, b) => b - a);
  const ends = usable.flatMap((one) => (sideOf(one) === null ? [one.endedAtMs] : []));
  const earliest = begins[minConversations - 1];
  const newest = begins[0];
  if (earliest === undefined || newest === undefined) return null;
  const cutoffMs = Math.min(earliest - 1, newest - minMs);
  const lost = ends.filter((endedAtMs) => endedAtMs > cutoffMs).length;
  return lost > maxTrainLoss * ends.length ? null : cutoffMs;
}

function newestVersions(trajectories: readonly Trajectory[]): readonly Trajectory[] {
  const newest = new Map<string, Trajectory>();
  for (const one of trajectories) if (one.version >= (newest.get(one.id)?.version ?? 0)) newest.set(one.id, one);
  return [...newest.values()];
}
