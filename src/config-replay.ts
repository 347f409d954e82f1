import { z } from "zod";
import { agentReplaySchema } from "./config-agent-replay.ts";

/** The part of the config tree that says how rollouts are played, and what answers their tool calls. */
const share = z.number().min(0).max(1);

const replayAlarmsSchema = z.strictObject({
  maskRate: share.default(0.3).describe("Share of an iteration's members that were masked."),
  maskGap: share
    .default(0.2)
    .describe("Difference of that share, or of one cause's, between the groups of the better and the worse half by reward."),
  agentFaults: share
    .default(0.1)
    .describe(
      "Share of an iteration's members that the operator's own agent lost: `agent_failed`, `agent_timeout`, `unsupported_request`, `skipped_write`.",
    ),
  offTapeRise: share.default(0.1).describe("Rise, from the first iteration to the last, of the share of calls that no recording answered."),
  clusterGap: share.default(0.25).describe("Difference between a task's share of the traffic and its share of the training tokens."),
  simulatorCorrelated: share.default(0.2).describe("Share of the groups with signal that were dropped as `simulator_correlated_reward`."),
  falseSuccess: share.default(0.1).describe("Share of a write's recorded errors that replay answered with a success."),
});

const simulatorSchema = z.strictObject({
  baseUrl: z.url().optional().describe("OpenAI-compatible endpoint of the simulator."),
  model: z.string().describe("Model that words tool answers and user turns that nobody recorded. Best another than the judge."),
  apiKeyFile: z.string().optional().describe("File with the simulator's API key."),
  apiKeyEnv: z.string().optional().describe("Environment variable with the simulator's API key."),
  timeoutMs: z.int().positive().default(60_000).describe("Longest wait for one reply."),
  concurrency: z.int().positive().default(8).describe("Requests in flight."),
  maxTokensPerRun: z.int().positive().default(5_000_000).describe("Token budget of one run; when spent, what nobody recorded is a miss."),
});

const liveReadsSchema = z.strictObject({
  tools: z
    .record(
      z.string(),
      z.strictObject({
        url: z
          .url()
          .describe(
            "Endpoint that answers `POST {tool, arguments}` with the tool's result as its body, or an MCP server. Redirects are not followed.",
          ),
        protocol: z
          .enum(["http", "mcp"])
          .default("http")
          .describe("What the endpoint speaks; `mcp` is streamable HTTP. Of an MCP server nothing but this one tool is called."),
        name: z.string().min(1).optional().describe("The tool's name on the MCP server, where it has another there."),
      }),
    )
    .describe(
      "Tools that may be read live, by name; only those whose `tools.<name>.class` is `read`. Their answers are used as they come: the endpoint leaves personal data out.",
    ),
  apiKeyFile: z.string().optional().describe("File with a credential that can only read, sent as bearer token."),
  apiKeyEnv: z.string().optional().describe("Environment variable with that credential."),
  timeoutMs: z.int().positive().default(5_000).describe("Longest wait for one answer."),
  maxBytes: z.int().positive().max(1_048_576).default(65_536).describe("Longest answer that is used."),
  concurrency: z.int().positive().default(4).describe("Requests in flight."),
});

export const replaySchema = z.strictObject({
  maxSimulatedShare: z.number().min(0).max(1).default(0.4).describe("A member whose answers are simulated above this share is masked."),
  maxCalls: z.int().positive().default(16).describe("Model calls of one rollout at most."),
  maxAttempts: z.int().positive().default(5).describe("Tries of one model call before the member is masked as infrastructure."),
  concurrency: z.int().positive().default(64).describe("Rollouts in flight."),
  priority: z
    .int()
    .min(0)
    .default(1)
    .describe(
      "vLLM's `priority` of the model calls of nights and gates: production's have 0 and go first. Needs vLLM's `--scheduling-policy priority`. 0: they stand in line with production's.",
    ),
  measuredTapes: z
    .int()
    .min(0)
    .default(200)
    .describe("Tapes that a run leaves out and asks about, to measure how often replay is wrong. 0 measures nothing."),
  maxWrongShare: share
    .default(0.2)
    .describe("A tool whose answers from other tapes (R3) or derived ones (R4) may be wrong more often is no longer answered so."),
  maxMisjudgedShare: share
    .default(0.5)
    .describe(
      "A write whose made-up answers (R5) surely are a success for an error, or the other way round, more often than this is not answered so: the call is a miss. Below a half of them a draw by the recorded error rate is still better than none.",
    ),
  alarms: replayAlarmsSchema.prefault({}).describe("What a run's replay may come to before it is said to be alarming."),
  simulator: simulatorSchema
    .optional()
    .describe(
      "LLM that words what no tape answers; whether a call succeeds is decided by what was recorded. Unset: reads that nobody recorded are misses.",
    ),
  liveReads: liveReadsSchema
    .optional()
    .describe("Reads of the live world, before the simulator, of things that the rollout has not written. Unset: none."),
  stepsPerConversation: z
    .int()
    .positive()
    .default(2)
    .describe("Model calls of one conversation that an iteration samples, for scenarios of mode step and where replay cut a group."),
  cutSteps: z
    .boolean()
    .optional()
    .describe(
      "Whether a group that replay cut, and that does not train, becomes single steps where it was cut. Unset: where an LLM judges and no `reward.check` speaks, because a script that looks at how a conversation ends cannot tell steps apart.",
    ),
  minPredictedCoverage: z
    .number()
    .min(0)
    .max(1)
    .default(0.6)
    .describe("Predicted share of answered tool calls below which a scenario is played step by step instead of whole."),
  agent: agentReplaySchema
    .optional()
    .describe("The agent itself, run per rollout against replayed tools. Unset: the loop, or single steps, over the recorded prompt."),
});
