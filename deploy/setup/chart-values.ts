import { z } from "zod";
import { collector, common, evaluationSchema, gateway, ingest, nightsSchema, serve, vllmSchema } from "./chart-workloads.ts";

/** What helm/values.yaml may hold. Helm checks values against the JSON Schema that `npm run generate` makes of this, so the first wrong key is named before anything is rendered. */
const secretKey = (what: string) =>
  z
    .strictObject({
      existingSecret: z.string().describe("Secret with this key; empty: secrets.existingSecret."),
      key: z
        .string()
        .regex(/^[-._a-zA-Z0-9]+$/)
        .describe("Key in that Secret."),
    })
    .describe(what);

const PROCESSES = ["serve", "ingest", "gateway", "collector", "adapter-agent", "evaluation"] as const;

const secretsSchema = z
  .strictObject({
    existingSecret: z.string().min(1).describe("Secret that has every key which names no other one."),
    postgresUrl: secretKey("URL of the database."),
    redactionKey: secretKey("Key of the default tenant's pseudonyms."),
    signingKey: secretKey("Private key that adapters are signed with."),
    signingPublicKey: secretKey("Public keys that adapters may be signed with."),
    operatorToken: secretKey("Token of the CronJobs and of `helm test`."),
    gatewayToken: secretKey("Token of gateways for the control service."),
    agentToken: secretKey("Token of adapter agents for the control service."),
    collectorToken: secretKey("Token of gateways for the collector."),
    s3AccessKeyId: secretKey("Access key's id of the artifacts' bucket."),
    s3SecretAccessKey: secretKey("Secret access key of the artifacts' bucket."),
    files: z
      .array(
        z.strictObject({
          file: z
            .string()
            .regex(/^[-._a-zA-Z0-9]+$/)
            .describe("Name below /run/secrets/nightshift."),
          existingSecret: z.string().optional().describe("Secret with the key; unset: secrets.existingSecret."),
          key: z.string().optional().describe("Its key; unset: as the file."),
          processes: z.array(z.enum(PROCESSES)).min(1).describe("Which processes read it."),
        }),
      )
      .describe("More files, such as judges' keys."),
  })
  .describe("Secrets, which exist already.");

const image = z.strictObject({
  registry: z.string().describe("Host and path before the repository; empty: the cluster's default."),
  repository: z.string().min(1).describe("Name of the image."),
  tag: z.string().describe("Tag; empty: the chart's appVersion."),
  digest: z
    .string()
    .regex(/^(sha256:[0-9a-f]{64})?$/, "sha256:… or empty")
    .describe("Digest; wins over the tag."),
});

const imagesSchema = z
  .strictObject({
    pullPolicy: z.enum(["Always", "IfNotPresent", "Never"]).describe("When images are pulled."),
    pullSecrets: z.array(z.string()).describe("Secrets of the registry."),
    nightshift: image,
    serve: image,
    trainer: image,
    vllm: image,
  })
  .describe("Images.");

/** Helm takes a key away that is set to null. */
const id = z.int().positive().nullable().optional();

/** Volumes that Pod Security `restricted` lets a pod mount. */
const volumeSchema = z
  .strictObject({
    persistentVolumeClaim: z.strictObject({ claimName: z.string().min(1), readOnly: z.boolean().optional() }).optional(),
    csi: z.record(z.string(), z.unknown()).optional(),
    image: z.record(z.string(), z.unknown()).optional(),
    ephemeral: z.record(z.string(), z.unknown()).optional(),
  })
  .describe("Where the base models lie: one volume source.");

const peers = z.array(z.record(z.string(), z.unknown()));
const rules = z.array(z.record(z.string(), z.unknown()));

const networkPolicySchema = z
  .strictObject({
    enabled: z.boolean().describe("NetworkPolicies of all pods."),
    agents: peers.describe("Who may call gateways and collectors."),
    api: peers.describe("Who may call the API besides our own pods."),
    scraper: peers.describe("Who may read metrics, vLLM's too."),
    egress: z
      .strictObject({
        dns: rules,
        postgres: rules,
        kafka: rules,
        objectStore: rules,
        judges: rules,
        kubernetesApi: rules,
        telemetry: rules,
        more: rules,
      })
      .describe("Where our pods may go, as NetworkPolicyEgressRules."),
  })
  .describe("Who may call whom.");

const flag = { enabled: z.boolean().describe("Make it, where the cluster knows its kind.") };

const metricsSchema = z
  .strictObject({
    enabled: z.boolean().describe("A Prometheus endpoint in every process."),
    port: common.port,
    serviceMonitor: z.strictObject({ ...flag, interval: z.string(), labels: common.labels }).describe("For the Prometheus operator."),
    prometheusRule: z.strictObject({ ...flag, labels: common.labels }).describe("The alerts of deploy/."),
    dashboards: z.strictObject({ ...flag, labels: common.labels }).describe("The dashboards of deploy/, as ConfigMaps."),
  })
  .describe("Metrics.");

const httpRouteSchema = z
  .strictObject({
    ...flag,
    annotations: common.labels,
    parentRefs: z.array(z.record(z.string(), z.unknown())).describe("Gateways that it belongs to."),
    hostnames: z.array(z.string()).describe("Host names of the gateway for agents."),
    apiHostnames: z.array(z.string()).describe("Host names of the API and its page; empty: not published."),
  })
  .describe("The way in from outside the cluster.");

const policyServersSchema = z
  .strictObject({
    podSelector: z.record(z.string(), z.unknown()).describe("Label selector of their pods."),
    namespace: z.string().describe("Their namespace; empty: the release's."),
    port: common.port,
    agentPort: common.port,
  })
  .describe("Replicas of vLLM that are not this chart's.");

/** @param config and jobRunner: of the product, which are JSON Schemas already and are put in their places by `chartSchema`. */
export const chartValues = z.strictObject({
  nameOverride: z.string(),
  fullnameOverride: z.string(),
  commonLabels: common.labels,
  global: z.record(z.string(), z.unknown()).optional().describe("Helm's own, for charts that have this one as a part."),
  config: z.record(z.string(), z.unknown()).describe("The product's config, as docs/config.md has it."),
  secrets: secretsSchema,
  images: imagesSchema,
  security: z
    .strictObject({ runAsUser: id, runAsGroup: id, fsGroup: id })
    .describe("The user of all containers; null: the cluster's choice."),
  baseModel: z.strictObject({ mountPath: z.string().regex(/^\/./), volume: volumeSchema }).describe("The base models."),
  storage: z.strictObject({ existingClaim: z.string() }).describe("A ReadWriteMany claim, where artifacts are files."),
  serve,
  ingest,
  gateway,
  collector,
  nights: nightsSchema,
  trainer: z
    .strictObject({
      enabled: z.boolean().describe("Trainers as Jobs; off: as serve's children."),
      serviceAccountAnnotations: common.labels,
      jobRunner: z.record(z.string(), z.unknown()).describe("More keys of config.training.jobRunner."),
    })
    .describe("Trainers."),
  policyServers: policyServersSchema,
  vllm: vllmSchema,
  evaluation: evaluationSchema,
  serviceAccount: z.strictObject({ annotations: common.labels }).describe("The control service's account."),
  rbac: z.strictObject({ create: z.boolean() }).describe("Rights of the control service."),
  networkPolicy: networkPolicySchema,
  metrics: metricsSchema,
  httpRoute: httpRouteSchema,
  uninstall: z.strictObject({ rollback: z.boolean().describe("End canaries that no lease ends.") }).describe("Before everything goes."),
  tests: z.strictObject({ enabled: z.boolean() }).describe("`helm test`."),
});
