import { kubernetesPrograms } from "../parts/kubernetes.ts";
import type { ControlPlane } from "./control-plane.ts";
import { modelRewriteCrd } from "./model-rewrite-crd.ts";

/** Kinds of other projects that the chart makes objects of, as definitions that take any spec: what such a project's own controller would say is not what is tested. */
const FOREIGN = [
  { group: "keda.sh", version: "v1alpha1", kind: "ScaledObject", plural: "scaledobjects" },
  { group: "monitoring.coreos.com", version: "v1", kind: "PrometheusRule", plural: "prometheusrules" },
  { group: "monitoring.coreos.com", version: "v1", kind: "ServiceMonitor", plural: "servicemonitors" },
];

/** These, and those of the Gateway API and of llm-d as they are published. Resolves once the API server serves them all. */
export async function installForeignKinds(plane: Pick<ControlPlane, "apply" | "kubectl">): Promise<void> {
  const schema = { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } };
  const definitions = FOREIGN.map(({ group, version, kind, plural }) => ({
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope: "Namespaced",
      names: { kind, plural, singular: kind.toLowerCase(), listKind: `${kind}List` },
      versions: [{ name: version, served: true, storage: true, schema }],
    },
  }));
  await plane.apply(...definitions, modelRewriteCrd());
  await plane.kubectl(["apply", "--server-side", "-f", kubernetesPrograms().gatewayCrds]);
  await plane.kubectl(["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"]);
}

/** A namespace that admits no pod below Pod Security `restricted`. */
export function restrictedNamespace(name: string): object {
  const labels = { "pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest" };
  return { apiVersion: "v1", kind: "Namespace", metadata: { name, labels } };
}
