import { z } from "zod";

const listed = z.strictObject({
  url: z.url().describe("Base URL of an OpenAI-compatible server with vLLM's LoRA endpoints."),
  name: z
    .string()
    .regex(/^[a-z0-9][a-z0-9.-]{0,62}$/)
    .optional()
    .describe("What its adapters are reported under. Unset: `<agent>-<index>`."),
  adapterAgent: z
    .boolean()
    .default(false)
    .describe("`nightshift adapter-agent` runs beside it and loads its adapters. Otherwise the control service does, over `url`."),
  adapterSlots: z
    .int()
    .positive()
    .optional()
    .describe(
      "Adapters that it holds at once, of all agents that share it (vLLM's --max-loras). Unset: as its /metrics say; where they do not, nobody counts.",
    ),
  readinessUrl: z
    .url()
    .optional()
    .describe(
      "That adapter agent's `/ready`, as gateways reach it: they ask once a second, and send calls elsewhere while it has not what stable answers with, or another base.",
    ),
});

const kubernetesName = z.string().regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, "not the name of a Kubernetes object");

const discover = z.strictObject({
  service: kubernetesName.describe(
    "Service in front of the policy servers' pods; each of its endpoints is a replica, called as its pod is.",
  ),
  namespace: kubernetesName.optional().describe("The Service's. Unset: the one that the control service runs in."),
  port: z
    .union([z.int().min(1).max(65_535), z.string().regex(/^[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$/, "not the name of a port")])
    .default(8000)
    .describe("Where a pod serves: its port's number, or its name in the Service."),
  agentPort: z
    .int()
    .min(1)
    .max(65_535)
    .default(4402)
    .describe("`adapterAgent.port` in those pods: each runs `nightshift adapter-agent` beside its server."),
  serviceUrl: z
    .url()
    .optional()
    .describe(
      "The Service as gateways reach it, for when no replica that they know of answers. Unset: `http://<service>.<namespace>.svc:<port>` where `port` is a number.",
    ),
});

export const policyServersSchema = z
  .union([z.array(listed), z.strictObject({ discover })])
  .default([])
  .describe(
    "Replicas that serve the base model: a list, or `discover`, which finds them in Kubernetes. Empty: `up` starts embedded servers.",
  );

type PolicyServers = z.infer<typeof policyServersSchema>;
export type ListedServer = z.infer<typeof listed>;
export type Discovery = z.infer<typeof discover>;

/** The servers that the config names; none where they are discovered. */
export function listedServers({ policyServers }: { policyServers: PolicyServers }): readonly ListedServer[] {
  return Array.isArray(policyServers) ? policyServers : [];
}

/** How the replicas are found; null where the config names them, or there are none. */
export function discoveryOf({ policyServers }: { policyServers: PolicyServers }): Discovery | null {
  return Array.isArray(policyServers) ? null : policyServers.discover;
}

/** Last resort of gateways; null where it cannot be told. */
export function serviceUrlOf({ service, namespace, port, serviceUrl }: Discovery): string | null {
  if (serviceUrl !== undefined) return serviceUrl;
  if (typeof port !== "number") return null;
  return `http://${namespace === undefined ? service : `${service}.${namespace}.svc`}:${port}`;
}
