import { sql } from "kysely";
import type { LlmJudgeConfig } from "../../config-judge.ts";
import type { Database } from "../../store/database.ts";

export interface Tokens {
  inputTokens: number;
  outputTokens: number;
}

/** Which judge of a run asks: each has a budget of its own. */
export type JudgeRole = "reward" | "gate" | "audit";

export type Reservation =
  /** Gives back what was held and counts what was really used. To be called exactly once. */
  | { status: "reserved"; settle(used: Tokens): Promise<void> }
  /** In words, with numbers: what is spent, and of how much. */
  | { status: "spent"; used: string; budget: string };

/**
 * The token and money budget of a run, kept in the database: a run that goes on in another process goes on counting. A question's likely cost is held before it is
 * asked, so questions in flight together cannot overshoot by more than their estimates are wrong. What a killed process held stays held, because it may have been
 * paid. Nothing is counted for a request that the server answered with an error, or not at all.
 */
export interface JudgeBudget {
  /** Waits for questions of this process in flight where only what they hold stands in the way. */
  reserve(runId: string, estimate: Tokens): Promise<Reservation>;
}

type Limits = Pick<LlmJudgeConfig, "model" | "maxTokensPerRun" | "maxCostPerRun" | "inputPricePerMillion" | "outputPricePerMillion">;

export function createJudgeBudget(limits: Limits, role: JudgeRole, database: Database): JudgeBudget {
  const inFlight = new Set<Promise<void>>();
  return {
    async reserve(runId, estimate) {
      const need = { tokens: estimate.inputTokens + estimate.outputTokens, cost: costOf(limits, estimate) ?? 0 };
      const of = { runId, role };
      while (!(await hold(database, of, limits, need))) {
        const spending = (await readSpending(database, runId)).find((row) => row.role === role);
        const spent = spending === undefined ? null : shortfall(spending, need, inFlight.size > 0);
        if (spent !== null) {
          await countRefused(database, of);
          return { status: "spent", ...spent };
        }
        // None in flight: they have given back what they held since the first try.
        if (inFlight.size > 0) await Promise.race(inFlight);
      }
      const settled = Promise.withResolvers<void>();
      inFlight.add(settled.promise);
      return {
        status: "reserved",
        settle: async (used) => {
          try {
            await release(database, of, need, { ...used, cost: costOf(limits, used) ?? 0 });
          } finally {
            inFlight.delete(settled.promise);
            settled.resolve();
          }
        },
      };
    },
  };
}

/** Tokens at the configured prices; null without both prices. */
export function costOf(prices: Pick<Limits, "inputPricePerMillion" | "outputPricePerMillion">, tokens: Tokens): number | null {
  const { inputPricePerMillion: input, outputPricePerMillion: output } = prices;
  if (input === undefined || output === undefined) return null;
  return (tokens.inputTokens * input + tokens.outputTokens * output) / 1_000_000;
}

/** What a run's judge has used, and of how much. */
export interface JudgeSpending {
  role: JudgeRole;
  model: string;
  inputTokens: number;
  outputTokens: number;
  /** At the prices that were in force when each was asked; 0 without prices. */
  cost: number;
  /** Held for questions without an answer: in flight, or lost with a process that was killed. It counts as used. */
  reservedTokens: number;
  reservedCost: number;
  maxTokens: number;
  maxCost: number | null;
  /** Questions that were not asked because the budget was spent. */
  refused: number;
}

/** Of the judge of groups, the gate's and the audit's, in this order; none of who has asked nothing. */
export async function readSpending(database: Database, runId: string): Promise<JudgeSpending[]> {
  const rows = await database.kysely.selectFrom("judge_spending").selectAll().where("run_id", "=", runId).orderBy("role", "desc").execute();
  return rows.map((row) => ({
    role: row.role as JudgeRole,
    model: row.model,
    inputTokens: row.input_tokens,
    outputTokens: row.output_tokens,
    cost: row.cost,
    reservedTokens: row.reserved_tokens,
    reservedCost: row.reserved_cost,
    maxTokens: row.max_tokens,
    maxCost: row.max_cost,
    refused: row.refused,
  }));
}

interface Of {
  runId: string;
  role: JudgeRole;
}

interface Need {
  tokens: number;
  cost: number;
}

/** One statement decides and counts, so that two askers cannot both take the last of it. */
async function hold(database: Database, { runId, role }: Of, limits: Limits, need: Need): Promise<boolean> {
  const { kysely } = database;
  const inForce = { model: limits.model, max_tokens: limits.maxTokensPerRun, max_cost: limits.maxCostPerRun ?? null };
  await kysely
    .insertInto("judge_spending")
    .values({ run_id: runId, role, ...inForce })
    .onConflict((conflict) => conflict.columns(["run_id", "role"]).doUpdateSet(inForce))
    .execute();
  const { numAffectedRows } = await sql`
    update judge_spending set reserved_tokens = reserved_tokens + ${need.tokens}::bigint, reserved_cost = reserved_cost + ${need.cost}::float8
    where run_id = ${runId} and role = ${role}
      and input_tokens + output_tokens + reserved_tokens + ${need.tokens}::bigint <= max_tokens
      and (max_cost is null or cost + reserved_cost + ${need.cost}::float8 <= max_cost)`.execute(kysely);
  return Number(numAffectedRows ?? 0) > 0;
}

async function release(database: Database, { runId, role }: Of, need: Need, used: Tokens & { cost: number }): Promise<void> {
  await sql`
    update judge_spending set reserved_tokens = reserved_tokens - ${need.tokens}::bigint,
      -- Sums of fractions do not come back to exactly nothing.
      reserved_cost = case when reserved_tokens <= ${need.tokens}::bigint then 0 else greatest(0, reserved_cost - ${need.cost}::float8) end,
      input_tokens = input_tokens + ${used.inputTokens}::bigint, output_tokens = output_tokens + ${used.outputTokens}::bigint,
      cost = cost + ${used.cost}::float8
    where run_id = ${runId} and role = ${role}`.execute(database.kysely);
}

async function countRefused(database: Database, { runId, role }: Of): Promise<void> {
  await database.kysely
    .updateTable("judge_spending")
    .set((eb) => ({ refused: eb("refused", "+", 1) }))
    .where("run_id", "=", runId)
    .where("role", "=", role)
    .execute();
}

/** Which budget the need does not fit; null where it would fit once those in flight have given back what they do not use. */
function shortfall(spending: JudgeSpending, need: Need, canWait: boolean): { used: string; budget: string } | null {
  const { inputTokens, outputTokens, reservedTokens, reservedCost, cost, maxTokens, maxCost } = spending;
  const tokens = inputTokens + outputTokens;
  const held = canWait ? { tokens: 0, cost: 0 } : { tokens: reservedTokens, cost: reservedCost };
  if (tokens + held.tokens + need.tokens > maxTokens) {
    return { used: `${tokens + reservedTokens} tokens (the next question may take ${need.tokens})`, budget: String(maxTokens) };
  }
  if (maxCost !== null && cost + held.cost + need.cost > maxCost) {
    return { used: `${(cost + reservedCost).toFixed(4)} (the next question may cost ${need.cost.toFixed(4)})`, budget: String(maxCost) };
  }
  return null;
}
