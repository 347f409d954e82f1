import { createHash } from "node:crypto";
import type { LlmJudgeConfig } from "../judge-client.ts";
import { rulerPrompt, RUBRIC_VERSION } from "../ruler.ts";
import type { ScriptedModule } from "../scripted-module.ts";

/** What a calibration holds for: change any of it and the judge is another one. */
export interface JudgeIdentity {
  driver: "ruler" | "scripted";
  model: string;
  /** Hash of the endpoint's address, which may be nobody's business; null for the default one and for scripted judges. */
  endpoint: string | null;
  rubricVersion: string;
  /** Hash of a fixed prompt: it changes with every word of the rubric and of the rendering. A scripted judge's is its module's source. */
  promptHash: string;
  parameters: Readonly<Record<string, number>>;
}

/** Identity of an LLM judge. Pure. */
export function rulerIdentity({ model, baseUrl }: Pick<LlmJudgeConfig, "model" | "baseUrl">): JudgeIdentity {
  return {
    driver: "ruler",
    model,
    endpoint: baseUrl === undefined ? null : hashOf(baseUrl.replace(/\/+$/, "")),
    rubricVersion: RUBRIC_VERSION,
    promptHash: hashOf(samplePrompt()),
    parameters: { temperature: 0 },
  };
}

/** @param source The module's text. */
export function scriptedIdentity({ name, judgeRubric }: Pick<ScriptedModule, "name" | "judgeRubric">, source: string): JudgeIdentity {
  return { driver: "scripted", model: name, endpoint: null, rubricVersion: judgeRubric, promptHash: hashOf(source), parameters: {} };
}

/** One short text that is equal for equal identities only. */
export function identityKey(identity: JudgeIdentity): string {
  const { driver, model, endpoint, rubricVersion, promptHash, parameters } = identity;
  const sorted = Object.entries(parameters).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return hashOf(JSON.stringify([driver, model, endpoint, rubricVersion, promptHash, sorted]));
}

/** Two attempts with everything in them that is rendered in a way of its own. */
function samplePrompt(): string {
  const text = (role: string, content: string) => ({ role, parts: [{ type: "text", content }] });
  const call = { role: "assistant", parts: [{ type: "tool_call", id: "c", name: "look", arguments: { id: "7" } }] };
  const result = { role: "tool", parts: [{ type: "tool_call_response", id: "c", response: "a result of more than a few words" }] };
  const thought = { role: "assistant", parts: [{ type: "reasoning", content: "hm" }] };
  const start = [text("system", "help"), text("user", "please")];
  const members = [
    { messages: [...start, thought, call, result, text("assistant", "done")], end: { status: "completed" } as const },
    { messages: [...start, call, result, call], end: { status: "truncated", cause: "loop" } as const },
  ];
  const prompt = rulerPrompt(members, [{ name: "look", parameters: {} }], { seed: "identity", maxPromptTokens: 10_000 });
  return JSON.stringify([prompt?.system, prompt?.user]);
}

function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 32);
}
