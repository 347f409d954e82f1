import type { AgentConfig, Config } from "../../config.ts";
import { discoveryOf, listedServers, serviceUrlOf, type Discovery } from "../../config-policy-servers.ts";
import { createLimiter } from "../../limiter.ts";
import { examineVllm, type VllmFacts } from "../../serving/vllm-facts.ts";
import type { ApiClient } from "../client.ts";
import { clockAheadMs, judgeClock } from "./clock.ts";
import { checkDiscovery } from "./discovered.ts";
import { bad, ok, warn, type Finding } from "./finding.ts";
import { checkReadiness } from "./readiness.ts";

const ASK_TIMEOUT_MS = 20_000;
/** A fleet that does not answer from here costs its time limit for each. */
const AT_ONCE = 8;
/** The first with return_token_ids and processed_logprobs. */
const OLDEST = [0, 10, 2] as const;
/** Stable, candidate and last known good of every agent that shares a server, and one adapter of every run under way; with less, vLLM serves the arms in turns. */
const LORAS_PER_AGENT = 3;
const SPARE_CPU_LORAS = 2;

/** One server of one agent. */
interface Server {
  agent: string;
  config: AgentConfig;
  url: string;
  /** What findings call it. */
  check: string;
  readinessUrl: string | null;
}

/**
 * How the vLLM servers were started: those that the config names, and those behind a Service that there are now. Embedded ones are started by `up` itself, rightly.
 * @param control The running Nightshift; null where none answers.
 */
export async function checkPolicyServers(
  { agents, training }: Pick<Config, "agents" | "training">,
  control: ApiClient | null = null,
): Promise<Finding[]> {
  const servers: Server[] = Object.entries(agents).flatMap(([agent, config]) =>
    listedServers(config).map(({ url, readinessUrl = null }) => ({ agent, config, url, check: `${agent}: ${url}`, readinessUrl })),
  );
  const findings: Finding[] = [];
  for (const [agent, config] of Object.entries(agents)) {
    const discovery = discoveryOf(config);
    if (discovery === null) continue;
    const found = await checkDiscovery(agent, discovery, control);
    findings.push(...found.findings, ...judgeLastResort(agent, discovery));
    servers.push(
      ...found.replicas.map(({ name, ...server }) => ({ agent, config, check: `${agent}: ${name} (${server.url})`, ...server })),
    );
  }
  const limited = createLimiter(AT_ONCE);
  const examined = servers.map((server) => limited(() => examine(server, { servers, runsAtOnce: training.runsAtOnce })));
  return [...findings, ...(await Promise.all(examined)).flat()];
}

async function examine(
  { config, url, check, readinessUrl }: Server,
  { servers, runsAtOnce }: { servers: readonly Server[]; runsAtOnce: number },
): Promise<Finding[]> {
  const askedAtMs = Date.now();
  const facts = await examineVllm({ url, model: config.model, timeoutMs: ASK_TIMEOUT_MS });
  const answeredAtMs = Date.now();
  const sharing = new Set(servers.filter((server) => server.url === url).map((server) => server.agent)).size;
  const loras = LORAS_PER_AGENT * sharing + Math.min(sharing, runsAtOnce);
  return [
    ...judge(check, { ...config, sharing, loras }, facts, { askedAtMs, answeredAtMs }),
    ...(readinessUrl === null ? [] : [await checkReadiness(`${check}: readiness`, readinessUrl)]),
  ];
}

function judgeLastResort(agent: string, discovery: Discovery): Finding[] {
  if (serviceUrlOf(discovery) !== null) return [];
  const problem = "gateways have no address for when none of its pods is known";
  return [warn(`${agent}: service ${discovery.service}`, problem, "Set policyServers.discover.serviceUrl, or give port as a number.")];
}

/** `loras`: adapters that the server must hold at once, for the `sharing` agents that use it. */
type Served = AgentConfig & { sharing: number; loras: number };

function judge(
  check: string,
  config: Served,
  facts: VllmFacts | null,
  { askedAtMs, answeredAtMs }: { askedAtMs: number; answeredAtMs: number },
): Finding[] {
  if (facts === null)
    return [warn(check, "does not answer from here: its flags were not looked at", "Start it, or run doctor where Nightshift runs.")];
  const model = facts.models.includes(config.model)
    ? []
    : [bad(check, `serves ${facts.models.join(", ")}, not ${config.model}`, `Start it with --served-model-name ${config.model}.`)];
  return [
    ...model,
    judgeVersion(check, facts),
    ...judgeLora(check, config, facts),
    judgeLogprobs(check, facts),
    ...judgePriority(check, config, facts),
    ...judgeUnseen(check, config, facts),
    ...(facts.isInDevelopmentMode
      ? [warn(check, "its development endpoints are open: whoever reaches it may pause it", "Unset VLLM_SERVER_DEV_MODE.")]
      : []),
    judgeClock(`${check}: clock`, clockAheadMs(facts.dateHeader, askedAtMs, answeredAtMs)),
  ];
}

function judgeVersion(check: string, { version }: VllmFacts): Finding {
  if (version === null)
    return warn(check, "tells no version: it may not be vLLM", "Point policyServers at vLLM itself, not at a router in front of it.");
  const isOld = compare(version.split(/[.+]/).map(Number), OLDEST) < 0;
  return isOld ? bad(check, `vLLM ${version}`, `Use vLLM ${OLDEST.join(".")} or newer.`) : ok(check, `vLLM ${version}`);
}

function judgeLora(
  check: string,
  { night, sharing, loras }: Served,
  { hasLora, loadsAtRunTime, maxLoras, maxCpuLoras, maxLoraRank }: VllmFacts,
): Finding[] {
  if (hasLora === false) return [bad(check, "serves no LoRA adapters", "Start it with --enable-lora.")];
  const findings: Finding[] = [];
  if (loadsAtRunTime === false)
    findings.push(bad(check, "does not load adapters at run time", "Start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True."));
  if (maxLoras !== null && maxLoras < loras) {
    const whose = sharing === 1 ? "" : ` of ${sharing} agents`;
    const told = `--max-loras ${maxLoras}: stable, candidate, the last known good and tonight's${whose} do not fit, so nights will be refused`;
    findings.push(bad(check, told, `Start it with --max-loras ${loras}.`));
  }
  if (maxCpuLoras !== null && maxCpuLoras < loras + SPARE_CPU_LORAS)
    findings.push(
      warn(
        check,
        `--max-cpu-loras ${maxCpuLoras}: adapters are read from disk again`,
        `Start it with --max-cpu-loras ${loras + SPARE_CPU_LORAS}.`,
      ),
    );
  if (maxLoraRank !== null && maxLoraRank < night.lora.rank) {
    const told = `--max-lora-rank ${maxLoraRank}, nights train rank ${night.lora.rank}`;
    findings.push(bad(check, told, `Start it with --max-lora-rank ${night.lora.rank}, or lower night.lora.rank.`));
  }
  if (findings.length > 0) return findings;
  if (loadsAtRunTime === null || maxLoras === null)
    return [
      warn(
        check,
        "does not tell whether it loads adapters at run time",
        "Let doctor reach /metrics and /v1/unload_lora_adapter of the server itself.",
      ),
    ];
  return [ok(check, `loads adapters at run time, --max-loras ${maxLoras}`)];
}

function judgeLogprobs(check: string, { hasProcessedLogprobs }: VllmFacts): Finding {
  const fix = "Start it with --logprobs-mode processed_logprobs: training divides by the probabilities that were sampled from.";
  if (hasProcessedLogprobs === null) return warn(check, "gave no logprobs to compare", fix);
  return hasProcessedLogprobs
    ? ok(check, "logprobs are processed: temperature moves them")
    : bad(check, "logprobs are raw: temperature does not move them", fix);
}

function judgePriority(check: string, { replay }: AgentConfig, { schedulingPolicy }: VllmFacts): Finding[] {
  if (replay.priority === 0)
    return [warn(check, "a night's rollouts stand in line with production's calls", "Set replay.priority to 1, its default, or more.")];
  if (schedulingPolicy === null) return [];
  if (schedulingPolicy === "priority") return [ok(check, "schedules by priority")];
  const told = `--scheduling-policy ${schedulingPolicy}: a night's rollouts are not put behind production's calls`;
  return [warn(check, told, "Start it with --scheduling-policy priority.")];
}

/** No endpoint of a server in production tells these. */
function judgeUnseen(check: string, { night, loras }: Served, facts: VllmFacts): Finding[] {
  const flags = [
    ...(facts.maxCpuLoras === null ? [`--max-cpu-loras ${loras + SPARE_CPU_LORAS}`] : []),
    ...(facts.maxLoraRank === null ? [`--max-lora-rank ${night.lora.rank}`] : []),
    ...(facts.schedulingPolicy === null ? ["--scheduling-policy priority"] : []),
  ];
  if (flags.length === 0) return [];
  return [
    warn(
      check,
      facts.schedulingPolicy === null
        ? "max-cpu-loras, max-lora-rank and the scheduling policy cannot be seen over HTTP"
        : "max-cpu-loras and max-lora-rank cannot be seen over HTTP",
      `Look that it was started with at least ${flags.join(" ")}.`,
    ),
  ];
}

function compare(found: readonly number[], wanted: readonly number[]): number {
  const index = wanted.findIndex((part, at) => part !== (found[at] ?? 0));
  return index === -1 ? 0 : (found[index] ?? 0) - (wanted[index] ?? 0);
}
