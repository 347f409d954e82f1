import { z } from "zod";
import {
  isLook,
  look,
  MAX_WEIGHT,
  MIN_WEIGHT,
  newCanaryState,
  observe,
  observeExcluded,
  type CanaryDecision,
  type CanaryParameters,
  type CanaryState,
  type CanaryUnit,
} from "./canary.ts";

const unitSchema = z.object({
  key: z.string(),
  arm: z.enum(["stable", "candidate"]),
  p: z.number(),
  routeVersion: z.number(),
  assignedAtMs: z.number(),
  endedAtMs: z.number(),
  trajectoryId: z.string(),
  outcome: z.number().min(0).max(1).nullable(),
  errors: z.record(z.string(), z.boolean()),
});

/** Instants at which the arms stopped being comparable for whoever was in conversation. */
const boundaryCauses = ["start", "ramp", "pause", "resume", "lease_lapse", "gateway_restart"] as const;
export type BoundaryCause = (typeof boundaryCauses)[number];
export type ExclusionReason = "open_at_step" | "late" | "weight_out_of_range";

export const operatorActions = ["promote", "rollback", "pause", "resume", "supersede"] as const;
export type OperatorAction = (typeof operatorActions)[number];

/** One row of the append-only log. `atMs` is when it was written and the only clock that a replay sees. */
export const evidenceSchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("unit"), atMs: z.number(), unit: unitSchema }),
  z.object({
    kind: z.literal("excluded"),
    atMs: z.number(),
    unit: unitSchema,
    reason: z.enum(["open_at_step", "late", "weight_out_of_range"]),
  }),
  /** A stage of the ramp begins (`step`), or traffic was disturbed within one (null). */
  z.object({ kind: z.literal("boundary"), atMs: z.number(), cause: z.enum(boundaryCauses), step: z.int().nullable() }),
  /** A look because time went by, not because units came. */
  z.object({ kind: z.literal("look"), atMs: z.number() }),
  z.object({ kind: z.literal("attestation_lost"), atMs: z.number(), replicas: z.array(z.string()) }),
  z.object({ kind: z.literal("operator"), atMs: z.number(), action: z.enum(operatorActions), actor: z.string() }),
]);
export type Evidence = z.infer<typeof evidenceSchema>;

export interface Conclusion {
  action: "promote" | "rollback" | "expire" | "supersede";
  /** A canary reason, `attestation_lost` or `operator`. */
  reason: string;
  detail: string;
  by: string;
  atMs: number;
  decision: CanaryDecision | null;
}

/** The fold of an experiment's log. `keys` grows in place; everything else is replaced. */
export interface Fold {
  readonly canary: CanaryState;
  readonly startedAtMs: number | null;
  readonly step: number;
  readonly paused: boolean;
  readonly boundaries: readonly number[];
  readonly keys: Set<string>;
  readonly excluded: Readonly<Record<ExclusionReason, number>>;
  /** Assignment order reached so far. */
  readonly last: { assignedAtMs: number; trajectoryId: string } | null;
  readonly lastDecision: CanaryDecision | null;
  /** The first row that ended it; nothing after that row counts, but an operator's rollback of a promotion that nobody has carried out yet. */
  readonly conclusion: Conclusion | null;
}

export function newFold(): Fold {
  return {
    canary: newCanaryState(),
    startedAtMs: null,
    step: 0,
    paused: false,
    boundaries: [],
    keys: new Set(),
    excluded: { open_at_step: 0, late: 0, weight_out_of_range: 0 },
    last: null,
    lastDecision: null,
    conclusion: null,
  };
}

export interface FoldParameters extends CanaryParameters {
  /** Off: a proven candidate waits for an operator (an uncalibrated judge must not promote on its own). */
  automatic: boolean;
}

/** Applies one row. The same rows give the same conclusion, whenever and wherever they are replayed. */
export function applyEvidence(fold: Fold, row: Evidence, parameters: FoldParameters): Fold {
  if (fold.conclusion !== null && !takesBack(fold.conclusion, row)) return fold;
  switch (row.kind) {
    case "unit":
      return applyUnit(fold, row, parameters);
    case "excluded":
      return applyExcluded(fold, row);
    case "boundary":
      return {
        ...fold,
        step: row.step ?? fold.step,
        startedAtMs: fold.startedAtMs ?? (row.cause === "start" ? row.atMs : null),
        boundaries: [...fold.boundaries, row.atMs],
      };
    case "look":
      return concludeLook(fold, row.atMs, parameters);
    case "attestation_lost":
      return conclude(fold, {
        action: "rollback",
        reason: "attestation_lost",
        detail: row.replicas.join(", "),
        by: "controller",
        atMs: row.atMs,
      });
    case "operator":
      return applyOperator(fold, row);
    default:
      return row satisfies never;
  }
}

/** Once a promotion was carried out no such row is written: rolling back is then undoing it. */
function takesBack(conclusion: Conclusion, row: Evidence): boolean {
  return conclusion.action === "promote" && row.kind === "operator" && row.action === "rollback";
}

/** Why a unit stays out of the analysis, or null. Units of both arms that were open at a boundary go, by this rule of time alone. */
export function exclusionOf(fold: Fold, unit: CanaryUnit): ExclusionReason | null {
  const { last } = fold;
  if (last !== null && compareOrder(unit, last) < 0) return "late";
  if (unit.p < MIN_WEIGHT || unit.p > MAX_WEIGHT) return "weight_out_of_range";
  return fold.boundaries.some((atMs) => unit.assignedAtMs <= atMs && atMs < unit.endedAtMs) ? "open_at_step" : null;
}

export function compareOrder(a: { assignedAtMs: number; trajectoryId: string }, b: { assignedAtMs: number; trajectoryId: string }): number {
  return a.assignedAtMs - b.assignedAtMs || (a.trajectoryId < b.trajectoryId ? -1 : a.trajectoryId > b.trajectoryId ? 1 : 0);
}

function applyUnit(fold: Fold, row: Extract<Evidence, { kind: "unit" }>, parameters: FoldParameters): Fold {
  fold.keys.add(row.unit.key);
  const next = { ...fold, canary: observe(fold.canary, row.unit, parameters), last: orderOf(row.unit) };
  return isLook(next.canary, parameters) ? concludeLook(next, row.atMs, parameters) : next;
}

function applyExcluded(fold: Fold, row: Extract<Evidence, { kind: "excluded" }>): Fold {
  fold.keys.add(row.unit.key);
  return {
    ...fold,
    // Only a valid weight says what the router should have done.
    canary: row.reason === "weight_out_of_range" ? fold.canary : observeExcluded(fold.canary, row.unit),
    excluded: { ...fold.excluded, [row.reason]: fold.excluded[row.reason] + 1 },
    last: row.reason === "late" ? fold.last : orderOf(row.unit),
  };
}

function concludeLook(fold: Fold, atMs: number, parameters: FoldParameters): Fold {
  if (fold.startedAtMs === null) return fold;
  const decision = look(fold.canary, parameters, { startedAtMs: fold.startedAtMs, nowMs: atMs });
  const seen = { ...fold, lastDecision: decision };
  const { action, reason, detail } = decision;
  if (action === "hold" || (action === "promote" && (fold.paused || !parameters.automatic))) return seen;
  return { ...seen, conclusion: { action, reason, detail, by: "controller", atMs, decision } };
}

function applyOperator(fold: Fold, row: Extract<Evidence, { kind: "operator" }>): Fold {
  if (row.action === "pause" || row.action === "resume") return { ...fold, paused: row.action === "pause" };
  return conclude(fold, { action: row.action, reason: "operator", detail: "", by: row.actor, atMs: row.atMs });
}

function conclude(fold: Fold, conclusion: Omit<Conclusion, "decision">): Fold {
  return { ...fold, conclusion: { ...conclusion, decision: fold.lastDecision } };
}

function orderOf(unit: CanaryUnit): { assignedAtMs: number; trajectoryId: string } {
  return { assignedAtMs: unit.assignedAtMs, trajectoryId: unit.trajectoryId };
}
