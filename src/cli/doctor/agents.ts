import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { AgentConfig, Config } from "../../config.ts";
import type { CliContext } from "../context.ts";
import { bad, ok, warn, type Finding } from "./finding.ts";

type JudgeConfig = NonNullable<AgentConfig["pairJudge"]>;

/** What the config says of every agent, as far as it can be told without asking anybody. */
export function checkAgents(config: Config, { env }: Pick<CliContext, "env">): Finding[] {
  const agents = Object.entries(config.agents);
  if (agents.length === 0) return [bad("agents", "none is configured", "Add one under `agents`; `nightshift init` writes an example.")];
  return agents.flatMap(([agent, one]) => [
    checkBase(agent, one),
    ...checkJudges(agent, one, env),
    ...checkAudit(agent, one, env),
    ...checkReplay(agent, one, env),
    ...checkSafety(agent, one),
  ]);
}

function checkBase(agent: string, { baseModel }: AgentConfig): Finding {
  const check = `${agent}: base model`;
  const directory = resolve(baseModel);
  const fix = "Point baseModel at a directory with config.json, tokenizer.json, the chat template and the weights (*.safetensors).";
  if (!existsSync(directory)) return bad(check, `${directory} does not exist`, fix);
  const files = readdirSync(directory);
  const lacks = [
    ...["config.json", "tokenizer.json"].filter((file) => !files.includes(file)),
    ...(files.some((file) => file.endsWith(".safetensors")) ? [] : ["*.safetensors"]),
    ...(files.includes("chat_template.jinja") || templateIn(join(directory, "tokenizer_config.json")) ? [] : ["a chat template"]),
  ];
  return lacks.length === 0 ? ok(check, directory) : bad(check, `${directory} lacks ${lacks.join(", ")}`, fix);
}

function templateIn(file: string): boolean {
  try {
    return "chat_template" in (JSON.parse(readFileSync(file, "utf8")) as object);
  } catch {
    return false;
  }
}

function checkJudges(agent: string, { judge, pairJudge, gate }: AgentConfig, env: CliContext["env"]): Finding[] {
  const check = `${agent}: judge`;
  const gateCheck = `${agent}: gate's judge`;
  const findings: Finding[] = [
    judge === undefined
      ? bad(check, "none: nights are refused", `Set agents.${agent}.judge to an LLM (driver: ruler).`)
      : checkJudge(check, judge, env),
  ];
  if (!gate.enabled) return findings;
  if (pairJudge === undefined)
    return [...findings, bad(gateCheck, "none: the gate is refused", `Set agents.${agent}.pairJudge to another model than the judge.`)];
  const isSame = judge?.driver === "ruler" && pairJudge.driver === "ruler" && judge.model === pairJudge.model;
  const told = isSame
    ? bad(
        gateCheck,
        `${pairJudge.driver === "ruler" ? pairJudge.model : ""} also rewards the training`,
        "Let another model judge the gate: a candidate learns to please the one that rewards it.",
      )
    : checkJudge(gateCheck, pairJudge, env);
  return [...findings, told];
}

/** Who looks over the judge's shoulder must see something else than it does. */
function checkAudit(agent: string, { judge }: AgentConfig, env: CliContext["env"]): Finding[] {
  const audit = judge?.audit;
  if (judge === undefined || audit === undefined) return [];
  const check = `${agent}: judge's audit`;
  const isSame =
    audit.driver === "scripted"
      ? judge.driver === "scripted" && judge.module === audit.module
      : judge.driver === "ruler" && audit.rubric === "ruler" && judge.model === audit.model && judge.baseUrl === audit.baseUrl;
  if (!isSame) return [checkJudge(check, audit, env)];
  return [warn(check, "the judge itself, asked the same", "Name another model, or set rubric: outcome: a judge agrees with itself.")];
}

function checkJudge(check: string, judge: JudgeConfig, env: CliContext["env"]): Finding {
  if (judge.driver === "scripted") {
    return existsSync(resolve(judge.module))
      ? warn(
          check,
          `scripted judge ${judge.module}`,
          "Fine for tests and the quickstart, where the script knows the truth; in production use an LLM (driver: ruler).",
        )
      : bad(check, `${judge.module} does not exist`, "Point `module` at the script, or use an LLM (driver: ruler).");
  }
  if (judge.apiKeyFile !== undefined && !existsSync(judge.apiKeyFile))
    return bad(check, `key file ${judge.apiKeyFile} does not exist`, "Create it, or set apiKeyEnv.");
  if (judge.apiKeyEnv !== undefined && !env[judge.apiKeyEnv])
    return bad(check, `${judge.apiKeyEnv} is not set`, "Set it in the environment of `nightshift up`, or use apiKeyFile.");
  return ok(check, `${judge.model}${judge.baseUrl === undefined ? "" : ` at ${judge.baseUrl}`}`);
}

/** What replay may ask beyond its tapes. */
function checkReplay(agent: string, { replay: { simulator, liveReads }, tools }: AgentConfig, env: CliContext["env"]): Finding[] {
  const simulated = simulator === undefined ? [] : [checkJudge(`${agent}: simulator`, { ...simulator, driver: "ruler" }, env)];
  if (liveReads === undefined) return simulated;
  const check = `${agent}: live reads`;
  const { apiKeyFile, apiKeyEnv } = liveReads;
  if (apiKeyFile !== undefined && !existsSync(apiKeyFile))
    return [...simulated, bad(check, `key file ${apiKeyFile} does not exist`, "Create it, or set apiKeyEnv.")];
  if (apiKeyEnv !== undefined && !env[apiKeyEnv])
    return [...simulated, bad(check, `${apiKeyEnv} is not set`, "Set it in the environment of `nightshift up`, or use apiKeyFile.")];
  const listed = Object.keys(liveReads.tools);
  const others = listed.filter((tool) => tools[tool]?.class !== "read");
  const told =
    others.length === 0
      ? ok(check, listed.join(", ") || "no tool is listed")
      : warn(
          check,
          `${others.join(", ")} is no read: never asked`,
          `Set agents.${agent}.tools.<name>.class: read, or take it off the list.`,
        );
  return [...simulated, told];
}

function checkSafety(agent: string, { gate, night }: AgentConfig): Finding[] {
  return [
    ...(gate.enabled
      ? []
      : [warn(`${agent}: gate`, "off: candidates meet live traffic ungated", `Set agents.${agent}.gate.enabled: true.`)]),
    ...(night.sabotage === undefined
      ? []
      : [bad(`${agent}: sabotage`, `${night.sabotage}: nights train a bad adapter on purpose`, `Remove agents.${agent}.night.sabotage.`)]),
  ];
}
