import { z } from "zod";

/** The part of the config tree that says how an agent without recordings learns against a sandboxed MCP server (`nightshift bootstrap`). */
const serverSchema = z
  .strictObject({
    url: z.url().optional().describe("Streamable HTTP endpoint of the MCP server. Redirects are not followed."),
    tokenFile: z.string().optional().describe("File with the bearer token that `url` is asked with."),
    command: z
      .array(z.string())
      .min(1)
      .optional()
      .describe("Program and arguments of an MCP server over standard input and output, started once per rollout."),
    directory: z.string().optional().describe("Working directory of `command`. Unset: Nightshift's own."),
    env: z
      .record(z.string(), z.string())
      .default({})
      .describe("Environment of `command`. Of Nightshift's own environment it gets PATH, LANG, LC_ALL, TZ and TMPDIR, nothing else."),
  })
  .refine(({ url, command }) => (url === undefined) !== (command === undefined), { error: "name either a url or a command" })
  .refine(({ url, tokenFile }) => tokenFile === undefined || url !== undefined, { path: ["tokenFile"], error: "belongs to a url" });

const resetSchema = z
  .strictObject({
    tool: z.string().optional().describe("Tool of the server that sets the sandbox back. The agent does not get it."),
    arguments: z.record(z.string(), z.unknown()).default({}).describe("Arguments of `tool`."),
    command: z.array(z.string()).min(1).optional().describe("Program and arguments; exit code 0 when the sandbox is as it was."),
    url: z.url().optional().describe("Endpoint that is posted to; a status below 300 when the sandbox is as it was."),
    timeoutMs: z.int().positive().default(30_000).describe("Longest wait for it."),
  })
  .refine(({ tool, command, url }) => [tool, command, url].filter((one) => one !== undefined).length === 1, {
    error: "name one of tool, command and url",
  });

export const bootstrapSchema = z
  .strictObject({
    sandboxed: z
      .boolean()
      .default(false)
      .describe(
        "Your word that the server's world is a sandbox: rollouts call every tool, writes really happen there, and its answers are kept and trained on as they come. Without it nothing is run.",
      ),
    server: serverSchema.describe("The MCP server whose tools the agent is to learn."),
    tools: z.array(z.string()).min(1).optional().describe("Tools that the agent has. Unset: all that the server lists."),
    systemPrompt: z.string().max(32_768).optional().describe("The agent's system prompt. Unset: none."),
    instructions: z
      .string()
      .max(8_192)
      .optional()
      .describe("What whoever makes up tasks must know of the sandbox: what there is in it by name and id, what users want of it."),
    tasks: z.int().min(2).max(512).default(64).describe("Tasks that are made up, held-out ones among them (`scenario.heldOutShare`)."),
    reset: resetSchema.optional().describe("What sets the sandbox back before a rollout's first call. Rollouts run one after another."),
    worldPerConnection: z
      .boolean()
      .default(false)
      .describe(
        "Every connection to the server (a process of its own with `command`) has a world of its own: rollouts run side by side and need no reset.",
      ),
    concurrency: z.int().positive().default(8).describe("Rollouts in flight, where each has its own world; otherwise one."),
    timeoutMs: z.int().positive().default(30_000).describe("Longest wait for a tool's answer; a rollout that meets it is masked."),
    maxAnswerBytes: z
      .int()
      .min(256)
      .max(1_048_576)
      .default(32_768)
      .describe("Longest answer that the agent is shown; the rest is cut off."),
    maxCalls: z.int().positive().default(20_000).describe("Tool calls of one run's rollouts; as many again of its gate."),
    maxMs: z.int().positive().default(21_600_000).describe("Time after which a run begins no more rollouts; as long again for its gate."),
  })
  .refine(({ reset, worldPerConnection }) => reset === undefined || !worldPerConnection, {
    path: ["reset"],
    error: "is not needed where every connection has a world of its own",
  });

export type BootstrapConfig = z.output<typeof bootstrapSchema>;
