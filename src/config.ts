import { readFileSync } from "node:fs";
import { parse as parseYaml } from "yaml";
import { z } from "zod";
import { agentSchema } from "./config-agent.ts";
import { misfitOf } from "./config-across.ts";
import { tokensSchema } from "./config-api.ts";
import { artifactsSchema } from "./config-artifacts.ts";
import { jobRunnerSchema } from "./config-job-runner.ts";
import { redactionSchema } from "./config-redaction.ts";
import { telemetrySchema } from "./config-telemetry.ts";
import { tenantSchema } from "./config-tenant.ts";
import { transportSchema } from "./config-transport.ts";
import { nightshiftError } from "./errors.ts";

/** One strict tree: an unknown key is an error. Every leaf is described; the reference table is generated from this. */
const listener = (port: number) => ({
  host: z.string().default("127.0.0.1").describe("Address to bind. Loopback unless told otherwise."),
  port: z.int().min(0).max(65_535).default(port).describe("TCP port; 0 takes a free one."),
});

const bytes = (defaultMiB: number, what: string) =>
  z
    .int()
    .positive()
    .default(defaultMiB * 1024 * 1024)
    .describe(what);

const postgresSchema = z.strictObject({
  driver: z.literal("postgres"),
  urlFile: z
    .string()
    .optional()
    .describe("File with the server's `postgres://user:password@host:port/database?sslmode=…`, PostgreSQL 14 or newer."),
  urlEnv: z.string().optional().describe("Environment variable with that URL, in place of the file."),
  maxConnections: z.int().positive().default(10).describe("Connections of this process at once."),
  connectTimeoutMs: z.int().positive().default(10_000).describe("Longest wait for a connection, new or free."),
  statementTimeoutMs: z.int().positive().default(30_000).describe("Longest run of one statement, waiting for locks included."),
});

export const configSchema = z.strictObject({
  dataDir: z.string().default(".nightshift").describe("Directory of the embedded store, artifacts, runs and keys. One process owns it."),
  logLevel: z.enum(["trace", "debug", "info", "warn", "error", "silent"]).default("info").describe("Lowest level that is logged."),
  python: z
    .string()
    .default(".venv/bin/python")
    .describe("Python with the trainer's requirements, for the local trainer and the embedded policy server."),
  telemetry: telemetrySchema,
  store: z
    .discriminatedUnion("driver", [z.strictObject({ driver: z.literal("pglite") }), postgresSchema])
    .prefault({ driver: "pglite" })
    .describe("The one database."),
  artifacts: artifactsSchema,
  transport: transportSchema,
  collector: z
    .strictObject({
      ...listener(4318),
      grpc: z
        .strictObject({
          enabled: z.boolean().default(true).describe("Take OTLP/gRPC beside OTLP/HTTP, on the same address."),
          port: z
            .int()
            .min(0)
            .max(65_535)
            .optional()
            .describe("TCP port; 0 takes a free one. Default: 4317, or a free one where `collector.port` is 0."),
        })
        .prefault({})
        .describe("OTLP/gRPC."),
      tls: z
        .strictObject({
          certFile: z.string().describe("Certificate chain (PEM)."),
          keyFile: z.string().describe("Its private key (PEM)."),
          clientCaFile: z
            .string()
            .optional()
            .describe("Certificate authorities (PEM) of which one must have signed every client's certificate."),
        })
        .optional()
        .describe("TLS for both protocols. Renewed files are taken up within a minute."),
      maxBodyBytes: bytes(64, "Largest request body, before and after decompression."),
      maxInFlightBytes: bytes(256, "Bytes of accepted bodies held at once; above it requests get 503 with Retry-After."),
      redact: z.boolean().default(true).describe("Take secrets and PII out before anything is stored."),
    })
    .prefault({})
    .describe("The OTLP receiver."),
  redaction: redactionSchema,
  capture: z
    .strictObject({
      graceMs: z.int().min(0).default(15_000).describe("Wait after a conversation's root ended; at least twice the SDK's batch delay."),
      idleMs: z.int().positive().default(300_000).describe("A conversation without a root is complete after this long without a new span."),
      maxAgeMs: z.int().positive().default(86_400_000).describe("Hard cap on an open conversation."),
      maxMediaBytes: bytes(
        20,
        "Largest image or sound of a message that is kept; larger ones are left out, and their conversation says so.",
      ),
      maxReferenceBytes: bytes(16, "Largest file that telemetry refers to (`gen_ai.…_ref`) and that is read."),
      sweepMs: z.int().positive().default(1_000).describe("How often complete conversations are looked for."),
    })
    .prefault({})
    .describe("When a conversation counts as complete."),
  ingest: z
    .strictObject({ ...listener(4403) })
    .prefault({})
    .describe("`nightshift ingest`; it listens for health checks."),
  gateway: z
    .strictObject({
      ...listener(8080),
      leaseMs: z
        .int()
        .positive()
        .max(30_000)
        .default(15_000)
        .describe("The candidate's weight falls to 0 when the control plane was silent this long."),
      keyIdleMs: z.int().positive().default(3_600_000).describe("A pinned assignment is forgotten after this long without a call."),
      maxKeys: z.int().positive().default(100_000).describe("Pinned assignments kept at once."),
      upstreamTimeoutMs: z.int().positive().default(120_000).describe("Longest wait for an upstream's first byte."),
      maxBodyBytes: bytes(16, "Largest request body from an agent."),
      maxConcurrency: z.int().positive().default(256).describe("Calls in flight on one policy server."),
      maxQueue: z.int().min(0).default(1_024).describe("Calls of one agent that wait for a free policy server; one more gets 429."),
      queueTimeoutMs: z.int().positive().default(30_000).describe("Longest wait for a free policy server; then 503."),
      drainMs: z
        .int()
        .min(0)
        .default(25_000)
        .describe(
          "How long calls under way may take to end after SIGTERM; below what the platform gives (a pod's terminationGracePeriodSeconds).",
        ),
      controlUrl: z.url().optional().describe("The control service, for `nightshift gateway` as its own process."),
      collectorUrl: z.url().optional().describe("Where the gateway's own GenAI spans go, for `nightshift gateway` as its own process."),
      collectorTokenFile: z
        .string()
        .optional()
        .describe("File with the tenant's token for that collector. OTEL_ variables, which are an agent's, are not read."),
      key: z
        .strictObject({
          traceparent: z.boolean().default(false).describe("Use the trace id as assignment key (one conversation = one trace)."),
        })
        .prefault({}),
    })
    .prefault({})
    .describe("The OpenAI-compatible gateway."),
  adapterAgent: z
    .strictObject({
      ...listener(4402),
      controlUrl: z.url().optional().describe("The control service."),
      publicKeyFile: z
        .string()
        .optional()
        .describe(
          "Public keys that adapters may be signed with (PEM): a copy of `keys/adapter-signing.pub.pem` below the control service's dataDir.",
        ),
    })
    .prefault({})
    .describe("`nightshift adapter-agent`, beside one policy server; it listens for the readiness probe of that server's pod."),
  kubernetes: z
    .strictObject({
      lease: z
        .string()
        .regex(/^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/, "not the name of a Kubernetes object")
        .optional()
        .describe(
          "Lease that the leading `serve` keeps for `kubectl get lease`, with events about runs and canaries on it. Who leads is decided in the database. Unset: nothing is written.",
        ),
      namespace: z.string().optional().describe("Where that Lease and its events are. Unset: where this process runs."),
    })
    .prefault({})
    .describe("What the control service writes for operators of a cluster."),
  training: z
    .strictObject({
      runsAtOnce: z
        .int()
        .positive()
        .default(1)
        .describe(
          "Runs of all agents that are carried out at once: each has a trainer of its own. More wait, in the order in which they were asked for.",
        ),
      jobRunner: jobRunnerSchema,
    })
    .prefault({})
    .describe("What the runs of all agents share."),
  api: z
    .strictObject({
      ...listener(4400),
      host: z
        .string()
        .default("127.0.0.1")
        .describe("Address to bind; `*`: every one of the machine, of both families. Loopback unless told otherwise."),
      tokens: tokensSchema,
    })
    .prefault({})
    .describe("The HTTP API and the page."),
  tenants: z
    .record(z.string().regex(/^[a-z0-9-]{1,40}$/), tenantSchema)
    .prefault({ default: {} })
    .describe("Training-isolation domains by slug."),
  agents: z
    .record(z.string().regex(/^[a-z0-9-]{1,40}$/), agentSchema)
    .default({})
    .describe("Agents that Nightshift watches, by slug."),
});

export type Config = z.infer<typeof configSchema>;
export type PostgresConfig = z.infer<typeof postgresSchema>;
export type AgentConfig = Config["agents"][string];

/**
 * Reads the config once: defaults, then the YAML file, then `NIGHTSHIFT_A__B=value` from `env` (double underscore descends).
 * @throws NightshiftError `config_unreadable` or `config_invalid`; entries print it and exit 2.
 */
export function loadConfig(options: { file?: string | undefined; env: Record<string, string | undefined> }): Config {
  const fromFile = options.file === undefined ? {} : readYaml(options.file);
  return parseConfig(withEnvironment(fromFile, options.env));
}

/** Validates a config tree and checks what spans several keys. @throws NightshiftError `config_invalid` */
export function parseConfig(tree: unknown): Config {
  const parsed = configSchema.safeParse(tree);
  if (!parsed.success) {
    const issue = deepestOf(parsed.error.issues[0]);
    const path = issue?.path ?? [];
    const problem =
      parsed.error.issues.length > 1 ? `${issue?.message} (and ${parsed.error.issues.length - 1} more)` : (issue?.message ?? "invalid");
    throw nightshiftError("config_invalid", { path: path.join(".") || "(root)", received: show(valueAt(tree, path)), problem });
  }
  const misfit = misfitOf(parsed.data);
  if (misfit !== null) throw nightshiftError("config_invalid", { ...misfit, received: show(misfit.received) });
  return parsed.data;
}

/** Of a value that fits no variant, what is wrong with it as the variant that it comes closest to: "invalid input" names no field. */
function deepestOf(issue: z.core.$ZodIssue | undefined): z.core.$ZodIssue | undefined {
  if (issue?.code !== "invalid_union") return issue;
  const inner = issue.errors.flatMap(([first]) => deepestOf(first) ?? []);
  const [closest] = inner.toSorted((a, b) => b.path.length - a.path.length);
  return closest === undefined || closest.path.length === 0 ? issue : { ...closest, path: [...issue.path, ...closest.path] };
}

function readYaml(file: string): Record<string, unknown> {
  try {
    const tree: unknown = parseYaml(readFileSync(file, "utf8"));
    if (tree === null || typeof tree !== "object" || Array.isArray(tree)) throw new Error("the top level is not a mapping");
    return tree as Record<string, unknown>;
  } catch (cause) {
    throw nightshiftError("config_unreadable", { file, problem: cause instanceof Error ? cause.message : String(cause) }, { cause });
  }
}

function withEnvironment(tree: Record<string, unknown>, env: Record<string, string | undefined>): Record<string, unknown> {
  const result = structuredClone(tree);
  for (const [name, value] of Object.entries(env)) {
    // Single-level names such as NIGHTSHIFT_JUDGE_URL belong to entries, not to the tree.
    if (value === undefined || !name.startsWith("NIGHTSHIFT_") || !name.includes("__")) continue;
    const path = name.slice("NIGHTSHIFT_".length).split("__").map(camelCase);
    let node = result;
    for (const key of path.slice(0, -1)) {
      const next = node[key];
      node[key] = next !== null && typeof next === "object" ? next : {};
      node = node[key] as Record<string, unknown>;
    }
    node[path.at(-1) ?? ""] = parseYaml(value);
  }
  return result;
}

function camelCase(name: string): string {
  return name.toLowerCase().replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

function valueAt(tree: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (node, key) => (node !== null && typeof node === "object" ? (node as Record<PropertyKey, unknown>)[key] : undefined),
    tree,
  );
}

function show(value: unknown): string {
  return value === undefined ? "nothing" : (JSON.stringify(value) ?? typeof value).slice(0, 120);
}
