import type { z } from "zod";
import { ROLES, type tokensSchema } from "./config-api.ts";
import type { JobRunnerConfig } from "./config-job-runner.ts";
import type { tenantSchema } from "./config-tenant.ts";

/** Of a config what has to fit together across its keys. */
interface Parts {
  tenants: Record<string, z.infer<typeof tenantSchema>>;
  agents: Record<string, { tenant: string }>;
  transport: { driver: string; tenant?: string };
  api: { tokens: z.infer<typeof tokensSchema> };
  artifacts: { driver: string };
  training: { jobRunner: JobRunnerConfig };
}

export interface Misfit {
  path: string;
  received: unknown;
  problem: string;
}

/** The first thing that is right by itself and wrong beside the rest; null where there is none. */
export function misfitOf(config: Parts): Misfit | null {
  return unknownTenant(config) ?? ambiguousToken(config) ?? unfitTrainer(config);
}

function unknownTenant({ tenants, agents, transport }: Parts): Misfit | null {
  const named = [
    ...Object.entries(agents).map(([slug, { tenant }]) => ({ path: `agents.${slug}.tenant`, tenant })),
    ...(transport.driver === "kafka" ? [{ path: "transport.tenant", tenant: transport.tenant ?? "" }] : []),
  ];
  const unknown = named.find(({ tenant }) => !(tenant in tenants));
  return unknown === undefined ? null : { path: unknown.path, received: unknown.tenant, problem: "names no key of tenants" };
}

/** A token that stood for two tenants, or two roles, would be taken for either. */
function ambiguousToken({ tenants, api }: Parts): Misfit | null {
  const listed = [
    ...ROLES.map((role) => ({ table: "api", path: `api.tokens.${role}`, hashes: api.tokens[role] })),
    ...Object.entries(tenants).flatMap(([slug, { apiTokens, collectorTokenHashes }]) => [
      ...ROLES.map((role) => ({ table: "api", path: `tenants.${slug}.apiTokens.${role}`, hashes: apiTokens[role] })),
      { table: "collector", path: `tenants.${slug}.collectorTokenHashes`, hashes: collectorTokenHashes },
    ]),
  ];
  const first = new Map<string, string>();
  for (const { table, path, hashes } of listed) {
    for (const hash of hashes) {
      const known = first.get(`${table} ${hash}`) ?? path;
      if (known !== path) return { path, received: hash, problem: `the same token stands in ${known}` };
      first.set(`${table} ${hash}`, path);
    }
  }
  return null;
}

/** A Job that would never be given up as it says, or a run directory that nothing brings to the trainer. */
function unfitTrainer({ artifacts, training: { jobRunner } }: Parts): Misfit | null {
  if (jobRunner.driver !== "kubernetes") return null;
  const { activeDeadlineSeconds, unschedulableAfterMs, runDirectory, jobTemplate, jobTemplateFile } = jobRunner;
  if (unschedulableAfterMs >= activeDeadlineSeconds * 1_000) {
    const problem = "must be shorter than activeDeadlineSeconds, which would end the Job first, as failed";
    return { path: "training.jobRunner.unschedulableAfterMs", received: unschedulableAfterMs, problem };
  }
  if (runDirectory.kind === "sync" && artifacts.driver !== "s3") {
    const problem = "goes through a bucket: it needs artifacts.driver s3; without one use a claim that both sides mount";
    return { path: "training.jobRunner.runDirectory.kind", received: runDirectory.kind, problem };
  }
  if (jobTemplate !== undefined && jobTemplateFile !== undefined) {
    const problem = "takes the place of training.jobRunner.jobTemplate: set one of the two";
    return { path: "training.jobRunner.jobTemplateFile", received: jobTemplateFile, problem };
  }
  return null;
}
