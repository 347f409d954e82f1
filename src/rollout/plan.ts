import type { Scenario } from "../scenario/scenario.ts";
import type { PolicyServer } from "../serving/policy-server.ts";
import type { Cascade } from "./cascade/cascade.ts";
import type { Limiter } from "../limiter.ts";
import type { OffTape } from "./off-tape.ts";
import type { Isolation, Rollout } from "./group.ts";
import type { ReplayStart } from "./cascade/situation.ts";
import type { ToolSession } from "./tool-session.ts";

export interface RolloutLimits {
  /** The agent's own production limit of model calls: reaching it is its fault, and scored. */
  maxCalls: number;
  /** Above this share of simulated answers a member is masked. */
  maxSimulatedShare: number;
  /** Tries of one model call before the member is masked as `infrastructure`. */
  maxAttempts: number;
}

export interface GroupPlan {
  scenario: Scenario;
  /** Over the run's tapes of the scenario's split. */
  cascade: Cascade;
  policyServer: PolicyServer;
  /** Served model name. */
  model: string;
  adapterDigest: string;
  runId: string;
  groupSize: number;
  runSeed: number;
  iteration: number;
  sampling: { temperature: number; topP: number; maxTokens: number };
  limits: RolloutLimits;
  /** Where a member's tool calls go. Default: replay from `cascade`; the true environment, where there is one to be had. */
  openTools?: (member: MemberPlan) => ToolSession;
  /** What keeps the members apart where `openTools` leads to a live sandbox; the group's fidelity says so. Unset: nothing is live. */
  live?: Isolation;
  /** Members that were played before, by the same plan, in their places: those that have this group's ids and seeds are taken as they are. */
  played?: readonly (Rollout | null)[];
  /** Runs the user's agent, for scenarios of mode `agent`. */
  agentDriver?: AgentDriver | null;
  /** Shared by all groups of a run; members wait here for their turn. */
  limiter: Limiter;
  /** What answers where no tape does. Unset: nothing does. */
  offTape?: OffTape | undefined;
  signal?: AbortSignal;
}

/** The user's own agent, run once per rollout. */
export interface AgentDriver {
  /** Rejects only when the plan's `signal` aborts. */
  play(plan: MemberPlan): Promise<Rollout>;
}

/** One member of a group. */
export interface MemberPlan extends Omit<GroupPlan, "limiter" | "played"> {
  start: ReplayStart;
  rolloutId: string;
  seed: number;
}
