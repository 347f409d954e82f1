import type { Logger } from "../../log.ts";
import type { LlmClient } from "../../serving/llm.ts";
import { parseResult } from "../../trajectory/record-tape.ts";
import { inferForm, type ResultSchema } from "../../trajectory/profiles/result-schema.ts";
import { mayWrite } from "../../trajectory/tool-profile.ts";
import type { Outcome } from "../cascade/outcome.ts";
import type { PreparedCall } from "../cascade/prepare.ts";
import { formatLike } from "../cascade/render.ts";
import type { Situation } from "../cascade/situation.ts";
import { createPins } from "../pins.ts";
import { createResultCheck, withKnownValues, type ResultRules } from "./check-result.ts";
import { knownOf, newIdsOf } from "./known.ts";
import { simulatorPrompt, type SimulatorPrompt } from "./prompt.ts";
import { createShapeChecks, type ShapeCheck } from "./shape-check.ts";

/** A call whose outcome is decided and whose body nobody recorded. */
export interface UnrecordedCall {
  situation: Situation;
  call: PreparedCall;
  outcome: Outcome;
  /** Of everything drawn, new ids above all; with `runId` the identity of the answer. */
  seed: readonly (string | number)[];
  runId: string;
  /** Whose text may be in the call's arguments: the rollout's so far. */
  sources: readonly string[];
}

export type Simulated =
  | { status: "answered"; result: string; madeFrom: readonly string[]; simulator: { model: string; promptHash: string } }
  /** No answer that keeps the rules: the call is a miss. */
  | { status: "none" }
  /** The simulator's server gave none: infrastructure, nobody's fault. */
  | { status: "unavailable" };

/** Writes the answers of tools that nobody recorded (R5). It decides nothing, keeps no state, and what it writes never becomes a tape. */
export interface Simulator {
  /** The same call in the same state of the same scenario gets the same bytes. Rejects only when `signal` aborts. */
  answer(asked: UnrecordedCall, options?: { signal?: AbortSignal }): Promise<Simulated>;
}

const MAX_ARGUMENT_CHARS = 4_000;

/** A simulator that asks an LLM and uses only what keeps the rules (check-result.ts). */
export function createSimulator({ llm, model }: { llm: LlmClient; model: string }, { log }: { log: Logger }): Simulator {
  // Siblings ask at the same time; later ones, and those after a restart, are answered by the client's cache.
  const pins = createPins<Simulated>(({ status }) => status !== "unavailable");
  const context: Context = { llm, model, log, checkOf: createShapeChecks() };
  return {
    answer: (asked, options = {}) => pins.get(JSON.stringify([asked.runId, ...asked.seed]), () => ask(asked, context, options.signal)),
  };
}

interface Context {
  llm: LlmClient;
  model: string;
  log: Logger;
  checkOf: (shape: ResultSchema) => ShapeCheck;
}

async function ask(asked: UnrecordedCall, context: Context, signal?: AbortSignal): Promise<Simulated> {
  const { situation, call } = asked;
  if (JSON.stringify(call.args).length > MAX_ARGUMENT_CHARS) return { status: "none" };
  const { prompt, rules, madeFrom } = questionOf(asked, context.checkOf);
  const check = createResultCheck(rules);
  const reply = await context.llm.ask<unknown>(
    {
      ...{ system: prompt.system, user: prompt.user, schema: prompt.schema, maxOutputTokens: prompt.maxOutputTokens, runId: asked.runId },
      sources: [...new Set([...asked.sources, situation.start.scenarioId, ...madeFrom])].toSorted(),
      parse: (text) => readResult(text, rules, check),
    },
    signal === undefined ? {} : { signal },
  );
  if (reply.status === "answered") {
    const result = worded(asked.outcome, reply.value);
    return { status: "answered", result, madeFrom, simulator: { model: context.model, promptHash: prompt.promptHash } };
  }
  context.log.warn(
    { model: context.model, tool: call.tool, code: reply.error.code, scenario_id: situation.start.scenarioId },
    "simulator gave no answer",
  );
  return { status: reply.status === "retryable" ? "unavailable" : "none" };
}

function questionOf(
  { situation, call, outcome, seed }: UnrecordedCall,
  checkOf: Context["checkOf"],
): { prompt: SimulatorPrompt; rules: ResultRules; madeFrom: readonly string[] } {
  const known = knownOf(situation, call);
  const newIds = newIdsOf(situation, call, { outcome, isWrite: mayWrite(call.profile), seed });
  const shape = inferForm(outcome.shapes.map(({ parsed }) => parsed));
  const description = situation.start.tools.find(({ name }) => name === call.tool)?.description;
  const prompt = simulatorPrompt({ call, description, outcome, known, newIds, shape });
  const shownTapes = [...outcome.examples, ...(outcome.errorExample === null ? [] : [outcome.errorExample])].map(({ tape }) => tape.id);
  const madeFrom = [...new Set([...shownTapes, ...known.sources])].toSorted();
  return { prompt, rules: { situation, call, outcome, checkShape: checkOf(shape), known, newIds, shown: prompt.user }, madeFrom };
}

function readResult(
  text: string,
  rules: ResultRules,
  check: (result: unknown) => string | null,
): { ok: true; value: unknown } | { ok: false; problem: string } {
  const reply = parseResult(unfenced(text));
  if (reply === null || typeof reply !== "object" || !Object.hasOwn(reply, "result")) {
    return { ok: false, problem: 'it is no JSON object with the one field "result"' };
  }
  const { result } = reply as { result: unknown };
  const problem = check(result);
  return problem === null ? { ok: true, value: withKnownValues(rules, result) } : { ok: false, problem };
}

/** Models like to put JSON into a code block. */
function unfenced(text: string): string {
  return /^\s*```(?:json)?\s*\n([\s\S]*?)\n\s*```\s*$/.exec(text)?.[1] ?? text;
}

/** The answer in the key order and spacing of the nearest recorded one; text where that is text. */
function worded({ examples: [nearest] }: Outcome, result: unknown): string {
  if (nearest === undefined || typeof result === "string") return String(result);
  return formatLike(nearest.entry.result, nearest.parsed, inOrderOf(nearest.parsed, result));
}

function inOrderOf(model: unknown, value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item: unknown) => inOrderOf(Array.isArray(model) ? model[0] : undefined, item));
  if (value === null || typeof value !== "object") return value;
  const order = model !== null && typeof model === "object" && !Array.isArray(model) ? (model as Record<string, unknown>) : {};
  const names = [
    ...Object.keys(order).filter((name) => Object.hasOwn(value, name)),
    ...Object.keys(value).filter((name) => !Object.hasOwn(order, name)),
  ];
  return Object.fromEntries(names.map((name) => [name, inOrderOf(order[name], (value as Record<string, unknown>)[name])]));
}
