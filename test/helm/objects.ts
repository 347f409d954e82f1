import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse, parseAllDocuments } from "yaml";

/** The chart, and what its examples render to, as committed: `node test/real/kubernetes/render-examples.ts` renders them anew. */
export const chart = join(import.meta.dirname, "../../helm");

/** A Kubernetes object as a manifest has it. */
export interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; labels?: Record<string, string>; annotations?: Record<string, string> };
  spec?: Record<string, unknown>;
  data?: Record<string, string>;
  rules?: Rule[];
  roleRef?: { kind: string; name: string };
  subjects?: { kind: string; name: string; namespace?: string }[];
  automountServiceAccountToken?: boolean;
}

interface Rule {
  apiGroups: string[];
  resources: string[];
  resourceNames?: string[];
  verbs: string[];
}

export interface Container {
  name: string;
  image: string;
  command?: string[];
  args?: string[];
  env?: { name: string; value?: string; valueFrom?: { fieldRef?: { fieldPath: string }; secretKeyRef?: unknown } }[];
  ports?: { name: string; containerPort: number }[];
  restartPolicy?: string;
  resources?: { requests?: Record<string, string | number>; limits?: Record<string, string | number> };
  securityContext?: Record<string, unknown>;
  terminationMessagePolicy?: string;
  volumeMounts?: { name: string; mountPath: string; readOnly?: boolean; subPath?: string }[];
  startupProbe?: Probe;
  livenessProbe?: Probe;
  readinessProbe?: Probe;
}

export interface Probe {
  httpGet?: { path: string; port: string };
  exec?: { command: string[] };
}

export interface Volume {
  name: string;
  emptyDir?: object;
  configMap?: { name: string };
  persistentVolumeClaim?: object;
  projected?: { sources: { secret: { name: string; items: { key: string; path: string }[] } }[] };
  hostPath?: object;
}

interface PodSpec {
  serviceAccountName?: string;
  automountServiceAccountToken?: boolean;
  enableServiceLinks?: boolean;
  restartPolicy?: string;
  securityContext?: Record<string, unknown>;
  hostNetwork?: boolean;
  initContainers?: Container[];
  containers: Container[];
  volumes?: Volume[];
  nodeSelector?: Record<string, string>;
  tolerations?: unknown[];
  affinity?: object;
  topologySpreadConstraints?: unknown[];
}

export interface Pod {
  of: Manifest;
  labels: Record<string, string>;
  annotations: Record<string, string>;
  spec: PodSpec;
}

/** Names of the examples that have values and what they render to. */
export const examples = readdirSync(join(chart, "examples"))
  .filter((name) => name !== "sidecars")
  .toSorted();

export function readChart(path: string): string {
  return readFileSync(join(chart, path), "utf8");
}

export function manifestsOf(text: string): Manifest[] {
  return parseAllDocuments(text)
    .map((document) => document.toJS() as Manifest | null)
    .filter((manifest) => manifest !== null);
}

const parsed = new Map<string, readonly Manifest[]>();

/** Everything that an example renders to, read once: the largest takes half a second. */
export function renderedOf(example: string): readonly Manifest[] {
  const known = parsed.get(example) ?? manifestsOf(readChart(`examples/${example}/rendered.yaml`));
  parsed.set(example, known);
  return known;
}

/** The pods that an object describes; none where it has no template. */
export function podsOf(manifests: readonly Manifest[]): Pod[] {
  return manifests.flatMap((of) => {
    const spec = (of.spec ?? {}) as { template?: Template; jobTemplate?: { spec: { template: Template } } };
    if (of.kind === "Pod") return [podOf(of, { metadata: of.metadata, spec: of.spec as unknown as PodSpec })];
    const template = spec.jobTemplate?.spec.template ?? spec.template;
    return template === undefined ? [] : [podOf(of, template)];
  });
}

interface Template {
  metadata: { labels?: Record<string, string>; annotations?: Record<string, string> };
  spec: PodSpec;
}

function podOf(of: Manifest, { metadata, spec }: Template): Pod {
  return { of, labels: metadata.labels ?? {}, annotations: metadata.annotations ?? {}, spec };
}

/** All containers of a pod, sidecars and init containers first. */
export function containersOf({ spec }: Pod): Container[] {
  return [...(spec.initContainers ?? []), ...spec.containers];
}

/** The product's config that an example's ConfigMap carries, not yet checked. */
export function configTreeOf(manifests: readonly Manifest[]): unknown {
  const map = manifests.find(({ kind, data }) => kind === "ConfigMap" && data?.["nightshift.yaml"] !== undefined);
  return parse(map?.data?.["nightshift.yaml"] ?? "");
}

/** Files below /run/secrets/nightshift that a pod has. */
export function secretFilesOf({ spec }: Pod): { secret: string; key: string; path: string }[] {
  return (spec.volumes ?? []).flatMap(({ projected }) =>
    (projected?.sources ?? []).flatMap(({ secret }) => secret.items.map(({ key, path }) => ({ secret: secret.name, key, path }))),
  );
}
