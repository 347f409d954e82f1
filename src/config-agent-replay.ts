import { z } from "zod";

/** What `agents.<name>.replay.agent` may name as `{name}` in its texts. */
export const PLACEHOLDERS = [
  "message",
  "conversationId",
  "userId",
  "openaiBaseUrl",
  "apiKey",
  "mcpUrl",
  "sseUrl",
  "toolsUrl",
  "toolsOrigin",
  "otlpUrl",
  "port",
] as const;
export type Placeholder = (typeof PLACEHOLDERS)[number];

/** The names of all placeholders in a template, known ones and others. */
export function placeholdersIn(template: unknown): ReadonlySet<string> {
  return new Set([...(JSON.stringify(template) ?? "").matchAll(/\{([A-Za-z]+)\}/g)].map(([, name]) => name ?? ""));
}

const fields = {
  command: z
    .array(z.string())
    .min(1)
    .optional()
    .describe(
      "Program and arguments, started once per rollout. Without `request` it is run once per user turn, with the user's message on its standard input.",
    ),
  directory: z.string().optional().describe("Working directory of `command`. Unset: Nightshift's own."),
  env: z
    .record(z.string(), z.string())
    .default({})
    .describe(
      "Environment of `command`, with placeholders. Of Nightshift's own environment it gets PATH, LANG, LC_ALL, TZ and TMPDIR, nothing else.",
    ),
  request: z
    .strictObject({
      url: z.string().describe("Where a user's message is posted, with placeholders."),
      headers: z.record(z.string(), z.string()).default({}).describe("More headers, with placeholders."),
      body: z.record(z.string(), z.unknown()).describe("JSON body, with placeholders in its texts."),
    })
    .optional()
    .describe("How a user's message reaches the agent over HTTP. A status below 300 is its reply; the next turn is posted then."),
  readyUrl: z
    .string()
    .optional()
    .describe("Asked until it answers below 300 before the first message, where `command` serves HTTP. With placeholders."),
  timeoutMs: z.int().positive().default(120_000).describe("Longest time of one rollout; after it the member is masked as agent_timeout."),
  concurrency: z.int().positive().default(8).describe("Rollouts of the agent in flight, within replay.concurrency."),
  listen: z
    .strictObject({
      host: z.string().default("127.0.0.1").describe("Address that the rollout listener binds to."),
      port: z.int().min(0).max(65_535).default(0).describe("Its port; 0 takes a free one."),
    })
    .prefault({})
    .describe("Where the agent's model calls and tool calls are answered during rollouts."),
  publicUrl: z.url().optional().describe("How the agent reaches the rollout listener, where that is not its host and port."),
};

/** The user's own agent, for rollouts. */
export const agentReplaySchema = z.strictObject(fields).superRefine((agent, context) => {
  if (agent.command === undefined && agent.request === undefined) {
    context.addIssue({ code: "custom", path: ["command"], message: "name a command, a request, or both" });
  }
  const { command: _, listen: _listen, ...templates } = agent;
  for (const name of placeholdersIn([templates, agent.command])) {
    if ((PLACEHOLDERS as readonly string[]).includes(name)) continue;
    context.addIssue({
      code: "custom",
      message: `{${name}} is no placeholder; there are ${PLACEHOLDERS.map((one) => `{${one}}`).join(", ")}`,
    });
  }
  const beforeMessages = agent.request === undefined ? [agent.readyUrl] : [agent.readyUrl, agent.env, agent.command];
  if (placeholdersIn(beforeMessages).has("message")) {
    context.addIssue({
      code: "custom",
      path: ["request"],
      message: "{message} belongs into request: the command is started before there is one",
    });
  }
  if (agent.command === undefined && placeholdersIn(templates).has("port")) {
    context.addIssue({ code: "custom", path: ["request"], message: "{port} is a free port for a command; there is no command" });
  }
});
