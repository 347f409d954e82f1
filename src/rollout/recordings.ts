import type { AgentConfig } from "../config.ts";
import type { ConversationFeedback } from "../scenario/rank.ts";
import type { SelectionInput } from "../scenario/select.ts";
import { splitOf, subjectOf } from "../scenario/split.ts";
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
  /** What `selectScenarios` needs, but for seed, count and history. */
  selection: Pick<SelectionInput, "trajectories" | "tapes" | "feedback" | "config" | "nowMs">;
  /** Answers tool calls from the tapes of one split, as far as `trust` (by default unmeasured) goes; made on first use. */
  cascade(split: Split, trust?: Trust): Cascade;
}

/**
 * Makes tapes of trajectories: what was recorded is split by user, so that a held-out tape never answers training, and what is still in quarantine answers
 * no other conversation. Pure.
 */
export function createRecordings(options: {
  trajectories: readonly Trajectory[];
  others?: readonly Trajectory[];
  feedback: readonly ConversationFeedback[];
  config: AgentConfig;
  /** Implementations of pure tools. */
  functions?: ToolFunctions;
  nowMs: number;
}): Recordings {
  const { trajectories, others = [], feedback, config, nowMs } = options;
  const usable = trajectories.filter(({ verdict }) => verdict.trainable);
  const profiles = learnProfiles(config.tools, usable);
  const asTape = (trajectory: Trajectory): Tape => {
    const { subject } = subjectOf(trajectory);
    const split = splitOf(subject, { salt: trajectory.tenant, heldOutShare: config.scenario.heldOutShare });
    return tapeOf(trajectory, { profiles, split });
  };
  const untrained = [...trajectories.filter(({ verdict }) => !verdict.trainable), ...others].map(asTape);
  const tapes = withEras(usable.map(asTape), untrained);
  const young = new Set(usable.filter(({ endedAtMs }) => endedAtMs > nowMs - config.scenario.quarantineMs).map(tapeIdOf));
  const pools = new Map<Split, TapePool>();
  const poolOf = (split: Split): TapePool => {
    const known = pools.get(split);
    if (known !== undefined) return known;
    const pool = createTapePool(tapes, { profiles, split, ownOnly: ({ id }) => young.has(id), others: untrained });
    pools.set(split, pool);
    return pool;
  };
  const cascades = new WeakMap<Trust, Map<Split, Cascade>>();
  return {
    trajectories,
    profiles,
    others,
    selection: { trajectories, tapes, feedback, config: config.scenario, nowMs },
    cascade(split, trust = UNMEASURED) {
      const bySplit = cascades.get(trust) ?? new Map<Split, Cascade>();
      cascades.set(trust, bySplit);
      const known = bySplit.get(split);
      if (known !== undefined) return known;
      const ids = tapes.filter((tape) => tape.split === split).map((tape) => tape.id);
      const cascade = createCascade(poolOf(split), ids, { functions: options.functions, trust });
      bySplit.set(split, cascade);
      return cascade;
    },
  };
}
