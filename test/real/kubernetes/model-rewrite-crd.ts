/**
 * llm-d's InferenceModelRewrite as far as its documentation says what it takes (llm-d.ai/v1alpha2: `poolRef`, `rules` of `matches` and `targets`, weights of 1 to 1,000,000). Written
 * here by hand: its own definition is in no package that a registry serves.
 */
export const MODEL_REWRITE_CRD = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: "inferencemodelrewrites.llm-d.ai" },
  spec: {
    group: "llm-d.ai",
    scope: "Namespaced",
    names: {
      kind: "InferenceModelRewrite",
      listKind: "InferenceModelRewriteList",
      plural: "inferencemodelrewrites",
      singular: "inferencemodelrewrite",
    },
    versions: [
      {
        name: "v1alpha2",
        served: true,
        storage: true,
        subresources: { status: {} },
        schema: {
          openAPIV3Schema: {
            type: "object",
            properties: { spec: spec(), status: { type: "object", "x-kubernetes-preserve-unknown-fields": true } },
          },
        },
      },
    ],
  },
};

function spec(): object {
  const match = {
    type: "object",
    required: ["model"],
    properties: {
      model: {
        type: "object",
        required: ["value"],
        properties: { type: { type: "string", enum: ["Exact"], default: "Exact" }, value: { type: "string", minLength: 1 } },
      },
    },
  };
  const target = {
    type: "object",
    required: ["modelRewrite"],
    properties: { modelRewrite: { type: "string" }, weight: { type: "integer", format: "int32", minimum: 1, maximum: 1_000_000 } },
  };
  return {
    type: "object",
    required: ["poolRef", "rules"],
    properties: {
      poolRef: {
        type: "object",
        required: ["name"],
        properties: {
          group: { type: "string", maxLength: 253, default: "llm-d.ai" },
          kind: { type: "string", minLength: 1, maxLength: 63, default: "InferencePool" },
          name: { type: "string", minLength: 1, maxLength: 253 },
        },
      },
      rules: {
        type: "array",
        items: {
          type: "object",
          properties: { matches: { type: "array", items: match }, targets: { type: "array", minItems: 1, items: target } },
        },
      },
    },
  };
}
