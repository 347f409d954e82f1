import OpenAI, { APIConnectionError, APIError } from "openai";
import type { Config } from "../../config.ts";
import { NightshiftError } from "../../errors.ts";
import type { LlmJudgeConfig } from "../../config-judge.ts";
import { readJudgeKey } from "../../reward/client/key.ts";
import type { CliContext } from "../context.ts";
import { bad, ok, warn, type Finding } from "./finding.ts";

const ASK_TIMEOUT_MS = 15_000;

/**
 * Do the judges answer, and the simulator. The list of models costs nothing; `isPaid` also has each write one token, which is what proves quota and the right to the model.
 * Scripted judges have nothing to reach.
 */
export async function checkJudgesAnswer(
  { agents }: Pick<Config, "agents">,
  { env }: Pick<CliContext, "env">,
  { isPaid }: { isPaid: boolean },
): Promise<Finding[]> {
  const wanted = Object.entries(agents).flatMap(
    ([
      agent,
      {
        judge,
        pairJudge,
        replay: { simulator },
      },
    ]) => [
      { check: `${agent}: judge answers`, judge },
      { check: `${agent}: judge's audit answers`, judge: judge?.audit },
      { check: `${agent}: gate's judge answers`, judge: pairJudge },
      { check: `${agent}: simulator answers`, judge: simulator === undefined ? undefined : { ...simulator, driver: "ruler" as const } },
    ],
  );
  const asked = wanted.map(async ({ check, judge }) => (judge?.driver === "ruler" ? [await ask(check, judge, env, isPaid)] : []));
  return (await Promise.all(asked)).flat();
}

async function ask(check: string, judge: LlmJudgeConfig, env: CliContext["env"], isPaid: boolean): Promise<Finding> {
  try {
    const baseURL = judge.baseUrl ?? "https://api.openai.com/v1";
    const client = new OpenAI({
      ...{ apiKey: readJudgeKey(judge, env), baseURL, organization: null, project: null },
      ...{ timeout: ASK_TIMEOUT_MS, maxRetries: 0, logLevel: "off" as const },
    });
    return isPaid ? await writeOneToken(check, client, judge) : await listModels(check, client, judge);
  } catch (error) {
    if (error instanceof NightshiftError) return bad(check, error.message, error.fix);
    return failed(check, error, judge);
  }
}

async function writeOneToken(check: string, client: OpenAI, { model }: LlmJudgeConfig): Promise<Finding> {
  const messages = [{ role: "user" as const, content: "Answer with one word: yes" }];
  await client.chat.completions.create({ model, messages, max_completion_tokens: 16 });
  return ok(check, `${model} wrote an answer`);
}

async function listModels(check: string, client: OpenAI, { model }: LlmJudgeConfig): Promise<Finding> {
  const names: string[] = [];
  for await (const { id } of client.models.list()) names.push(id);
  if (names.includes(model)) return ok(check, `${model} is listed; nothing was asked of it (--ask-judges does, for a token)`);
  return warn(
    check,
    `${model} is not among the ${names.length} models that are listed`,
    "Correct the model's name, or try it with --ask-judges.",
  );
}

function failed(check: string, error: unknown, { model, baseUrl }: LlmJudgeConfig): Finding {
  const place = baseUrl ?? "OpenAI";
  if (error instanceof APIConnectionError) return bad(check, `${place} does not answer`, "Correct baseUrl, or let this machine reach it.");
  if (error instanceof APIError && (error.status === 401 || error.status === 403))
    return bad(check, `${place} refused the key: HTTP ${error.status}`, "Put a valid key into apiKeyFile or the variable of apiKeyEnv.");
  if (error instanceof APIError && error.status === 404)
    return warn(check, `${place} lists no models`, `Try ${model} itself with --ask-judges: it writes one token, which may cost.`);
  const problem = error instanceof APIError ? `HTTP ${error.status ?? "without status"}` : "an answer that is not the API's";
  return bad(check, `${place}: ${problem}`, "Look at the judge's own status page or log.");
}
