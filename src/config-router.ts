import { z } from "zod";

const kubernetesName = z.string().regex(/^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/, "not the name of a Kubernetes object");

const objectFields = {
  name: kubernetesName.describe("The object that weights are written to."),
  namespace: kubernetesName.optional().describe("Its namespace. Unset: the one that the control service runs in."),
};

const WHAT =
  "What splits live traffic. Only `gateway` draws per conversation: with the others a canary gives no quality decision and waits for an operator, and no lease ends it while the control service is dead.";

export const routerSchema = z
  .discriminatedUnion("driver", [
    z.strictObject({ driver: z.literal("gateway").describe(WHAT) }),
    z.strictObject({
      driver: z.literal("llm-d"),
      ...objectFields,
      pool: z
        .strictObject({
          name: kubernetesName.describe("InferencePool whose traffic is split."),
          group: z.string().optional().describe("Its API group. Unset: as the API defaults it."),
        })
        .describe("What the agent's policy servers are in."),
    }),
    z.strictObject({
      driver: z.literal("http-route"),
      ...objectFields,
      backend: z
        .strictObject({
          name: kubernetesName.describe("Backend that all of the agent's traffic goes to."),
          kind: z
            .string()
            .default("InferencePool")
            .describe("Its kind: an endpoint picker behind it must rewrite the model's name by `header`."),
          group: z.string().default("inference.networking.k8s.io").describe("Its API group; empty for a Service."),
          port: z.int().min(1).max(65_535).optional().describe("Its port; a Service needs one."),
        })
        .describe("Where the route leads."),
      header: z
        .string()
        .regex(/^[A-Za-z0-9-]{1,256}$/, "not the name of a header")
        .default("x-gateway-model-name-rewrite")
        .describe("Request header that names the model to serve with; the endpoint picker takes it over into the request."),
      matchHeader: z
        .string()
        .regex(/^[A-Za-z0-9-]{1,256}$/, "not the name of a header")
        .optional()
        .describe("Request header with the model asked for, where one route serves several models. Unset: all requests are the agent's."),
    }),
  ])
  .prefault({ driver: "gateway" })
  .describe(WHAT);

export type RouterConfig = z.infer<typeof routerSchema>;
