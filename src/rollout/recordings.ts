import type { AgentConfig } from "../config.ts";
import type { ConversationFeedback } from "../scenario/rank.ts";
import type { SelectionInput } from "../scenario/select.ts";
import { drawWalls, type DrawnWalls, type WallMemory, type Walls } from "../scenario/walls.ts";
import type { Split } from "../scenario/scenario.ts";
import { withEras } from "../trajectory/era.ts";
import { learnProfiles } from "../trajectory/learn-profiles.ts";
import { tapeIdOf, tapeOf } from "../trajectory/record-tape.ts";
import type { Tape } from "../trajectory/tape.ts";
import type { Trajectory } from "../trajectory/trajectory.ts";
import type { ToolProfiles } from "../trajectory/tool-profile.ts";
import { createCascade, type Cascade } from "./cascade/cascade.ts";
import type { ToolFunctions } from "./cascade/tool-functions.ts";
import { createTapePool, type TapePool } from "./cascade/tape-pool.ts";
import { UNMEASURED, type Trust } from "./cascade/trust.ts";

/** An agent's captured conversations, ready to be selected from and replayed. */
export interface Recordings {
  trajectories: readonly Trajectory[];
  profiles: ToolProfiles;
  /** Other conversations of the tenant, which answer nothing: what they wrote, and which keys they knew, still counts. */
  others: readonly Trajectory[];
  /** Between training and evaluation. */
  walls: Walls;
  /** What `selectScenarios` needs, but for seed, count and history. */
  selection: Pick<SelectionInput, "trajectories" | "tapes" | "feedback" | "config" | "nowMs" | "walls">;
  /** Answers tool calls from the tapes of one split, as far as `trust` (by default unmeasured) goes; made on first use. */
  cascade(split: Split, trust?: Trust): Cascade;
}

/**
 * Makes tapes of trajectories: what was recorded is split by user, cluster and time, so that a held-out tape never answers training, and what is still in quarantine, or
 * after the cut-off, answers no other conversation. Pure.
 */
export function createRecordings(options: {
  trajectories: readonly Trajectory[];
  others?: readonly Trajectory[];
  feedback: readonly ConversationFeedback[];
  config: AgentConfig;
  /** Implementations of pure tools. */
  functions?: ToolFunctions;
  nowMs: number;
  /** What the night before decided. */
  memory?: WallMemory | undefined;
  /** Walls of a run that has begun. */
  drawn?: DrawnWalls | undefined;
}): Recordings {
  const { trajectories, others = [], feedback, config, nowMs, memory, drawn } = options;
  const walls = drawWalls({ trajectories, config: config.scenario, nowMs, memory, drawn });
  const usable = trajectories.filter(({ verdict }) => verdict.trainable);
  const profiles = learnProfiles(config.tools, usable);
  const asTape = (trajectory: Trajectory): Tape => tapeOf(trajectory, { profiles, split: walls.placeOf(trajectory).split });
  const untrained = [...trajectories.filter(({ verdict }) => !verdict.trainable), ...others].map(asTape);
  const tapes = withEras(usable.map(asTape), untrained);
  const isYoung = ({ endedAtMs }: Trajectory): boolean => endedAtMs > nowMs - config.scenario.quarantineMs;
  const alone = new Set(usable.filter((one) => isYoung(one) || walls.placeOf(one).serves === "own").map(tapeIdOf));
  const pools = new Map<Split, TapePool>();
  const poolOf = (split: Split): TapePool => {
    const known = pools.get(split);
    if (known !== undefined) return known;
    const pool = createTapePool(tapes, { profiles, split, ownOnly: ({ id }) => alone.has(id), others: untrained });
    pools.set(split, pool);
    return pool;
  };
  const cascades = new WeakMap<Trust, Map<Split, Cascade>>();
  return {
    trajectories,
    profiles,
    others,
    walls,
    selection: { trajectories, tapes, feedback, config: config.scenario, nowMs, walls },
    cascade(split, trust = UNMEASURED) {
      const bySplit = cascades.get(trust) ?? new Map<Split, Cascade>();
      cascades.set(trust, bySplit);
      const known = bySplit.get(split);
      if (known !== undefined) return known;
      const ids = tapes.map((tape) => tape.id);
      const cascade = createCascade(poolOf(split), ids, { functions: options.functions, trust });
      bySplit.set(split, cascade);
      return cascade;
    },
  };
}
