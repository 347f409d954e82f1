import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text as readText } from "node:stream/consumers";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toChatMessages, toChatTools } from "../../../src/rollout/chat-messages.ts";
import { runTool } from "../../real/parts/part.ts";
import { pythonPackage } from "../fetched.ts";
import type { BenchGroup } from "./groups.ts";

/** OpenPipe's ART, whose RULER ours is compared with: the newest for the Python that the trainer has, 3.11. */
export const ART = { name: "openpipe-art", version: "0.5.18", day: "2026-10-31" } as const;

/** A question to a judge as it went over the wire. */
export interface WireQuestion {
  system: string;
  user: string;
}

/** The binaries of an environment with ART in it. */
export function artEnvironment(): Promise<string> {
  return pythonPackage(ART);
}

/** What ART's own `ruler_score_group` asks its judge about each group: a server on loopback takes the questions and gives everybody a half. */
export async function artQuestions(binaries: string, groups: readonly BenchGroup[]): Promise<WireQuestion[]> {
  const questions: WireQuestion[] = [];
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { messages, model } = JSON.parse(await readText(request)) as { model: string; messages: { role: string; content: unknown }[] };
    const of = (role: string): string =>
      messages
        .filter((message) => message.role === role)
        .map(({ content }) => textOf(content))
        .join("\n");
    const question = { system: of("system"), user: of("user") };
    questions.push(question);
    const ids = [...question.user.matchAll(/<trajectory id="(\d+)">/g)].map(([, id]) => id);
    const content = JSON.stringify({ scores: ids.map((id) => ({ trajectory_id: id, explanation: "", score: 0.5 })) });
    const choice = { index: 0, finish_reason: "stop", message: { role: "assistant", content } };
    const usage = { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 };
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ id: "bench", object: "chat.completion", created: 0, model, choices: [choice], usage }));
  };
  const server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const asked = groups.map(({ tools, members }) => ({ tools: toChatTools(tools), members: members.map(toChatMessages) }));
  try {
    await runPython(binaries, "ask_art.py", asked, [`http://127.0.0.1:${port}/v1`]);
  } finally {
    server.close();
    server.closeAllConnections();
  }
  if (questions.length !== groups.length) throw new Error(`ART asked ${questions.length} questions about ${groups.length} groups`);
  return questions;
}

/** Tokens of each text, by the tokenizer (o200k_base) that LiteLLM brings with it: one for both sides, without network. */
export async function countTokens(binaries: string, texts: readonly string[]): Promise<number[]> {
  return JSON.parse(await runPython(binaries, "count_tokens.py", texts, [])) as number[];
}

async function runPython(binaries: string, script: string, input: unknown, args: readonly string[]): Promise<string> {
  const dir = mkdtempSync(join(tmpdir(), "nightshift-ruler-"));
  const file = join(dir, "input.json");
  writeFileSync(file, JSON.stringify(input));
  const env = { LITELLM_LOCAL_MODEL_COST_MAP: "True", NO_PROXY: "127.0.0.1", WEAVE_DISABLED: "true", WANDB_MODE: "disabled" };
  try {
    return await runTool(join(binaries, "python"), [join(import.meta.dirname, script), file, ...args], {
      env,
      problem: `${script} failed`,
      fix: "remove .cache/bench/openpipe-art-* and run the command again",
    });
  } finally {
    rmSync(dir, { recursive: true });
  }
}

function textOf(content: unknown): string {
  return typeof content === "string" ? content : (content as { text?: string }[]).map(({ text = "" }) => text).join("");
}
