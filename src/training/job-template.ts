import type { V1Job } from "@kubernetes/client-node";
import { nightshiftError } from "../errors.ts";

/** Part of a Job, as it stands in YAML. */
export type JobTemplate = Readonly<Record<string, unknown>>;

type Json = Readonly<Record<string, unknown>>;

/** By which key Kubernetes tells the entries of a list apart when it merges strategically; a list that is not named here is replaced whole. */
const MERGE_KEYS: Readonly<Record<string, string>> = {
  containers: "name",
  initContainers: "name",
  volumes: "name",
  env: "name",
  imagePullSecrets: "name",
  volumeMounts: "mountPath",
  volumeDevices: "devicePath",
  ports: "containerPort",
  hostAliases: "ip",
  topologySpreadConstraints: "topologyKey",
  resourceClaims: "name",
};

/** What must stay as Nightshift made it, and why. A path ends at what is compared whole; `[name]` is the entry of a list. */
const FIXED: readonly (readonly [path: string, why: string])[] = [
  ["apiVersion", "it is a Job of batch/v1"],
  ["kind", "it is a Job of batch/v1"],
  ["metadata.name", "it is the run's, so that creating it twice is one Job"],
  ["metadata.namespace", "it is training.jobRunner.namespace"],
  ["metadata.generateName", "its name is the run's, so that creating it twice is one Job"],
  ["spec.parallelism", "a run has one trainer"],
  ["spec.completions", "a run has one trainer"],
  ["spec.completionMode", "a run has one trainer"],
  ["spec.selector", "Kubernetes chooses it"],
  ["spec.manualSelector", "Kubernetes chooses the selector"],
  ["spec.suspend", "a queue such as Kueue sets it"],
  ["spec.podFailurePolicy", "evictions must not count as crashes, and bad input must not be tried again"],
  ["spec.podReplacementPolicy", "two trainers would write one run"],
  ["spec.backoffLimit", "it is training.jobRunner.backoffLimit"],
  ["spec.activeDeadlineSeconds", "it is training.jobRunner.activeDeadlineSeconds"],
  ["spec.template.spec.restartPolicy", "the Job starts trainers, by its failure policy"],
  ["spec.template.spec.automountServiceAccountToken", "the trainer has no rights in the cluster"],
  ["spec.template.spec.serviceAccountName", "it is training.jobRunner.serviceAccount"],
  ["spec.template.spec.serviceAccount", "it is training.jobRunner.serviceAccount"],
  ["spec.template.spec.containers[trainer].args", "it trains this run"],
  ["spec.template.spec.containers[trainer].volumeMounts[/run/nightshift]", "it is the run's directory"],
  ["spec.template.spec.volumes[run]", "it is the run's directory"],
];

/** Labels by which the run's Job and pods are found again. */
const FIXED_LABELS = /^(?:nightshift\.dev\/|app\.kubernetes\.io\/(?:name|component|managed-by)$|kueue\.x-k8s\.io\/queue-name$)/;

/**
 * Merges what an operator wants changed into a Job, as `kubectl patch --type strategic` does: objects key by key, lists with a merge key entry by entry
 * (`$patch: delete` takes one out), other lists and values whole; null takes a key out. Pure.
 * @throws NightshiftError `job_template_invalid` that names the field
 */
export function mergeJobTemplate(made: V1Job, template: JobTemplate): V1Job {
  const merged = mergeObject(made as unknown as Json, template, "");
  for (const [path, why] of FIXED) {
    if (!isEqual(valueAt(merged, path), valueAt(made as unknown as Json, path))) throw invalid(path, `cannot be changed: ${why}`);
  }
  for (const place of ["metadata.labels", "spec.template.metadata.labels"]) requireLabels(place, made as unknown as Json, merged);
  forbidTokens(merged);
  return merged;
}

function requireLabels(place: string, made: Json, merged: Json): void {
  const after = valueAt(merged, place) as Json | undefined;
  for (const [label, value] of Object.entries((valueAt(made, place) ?? {}) as Json)) {
    if (FIXED_LABELS.test(label) && after?.[label] !== value)
      throw invalid(`${place}.${label}`, "cannot be changed: the run is found by it");
  }
}

/** A token that is projected by hand is a token. */
function forbidTokens(merged: Json): void {
  const volumes = (valueAt(merged, "spec.template.spec.volumes") ?? []) as { name: string; projected?: { sources?: Json[] } }[];
  for (const { name, projected } of volumes) {
    if (projected?.sources?.some((source) => "serviceAccountToken" in source) === true)
      throw invalid(`spec.template.spec.volumes[${name}]`, "cannot hold a service account token: the trainer has no rights in the cluster");
  }
}

function mergeObject(base: Json, patch: Json, path: string): Json {
  const merged: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(patch)) {
    const place = path === "" ? key : `${path}.${key}`;
    if (key.startsWith("$"))
      throw invalid(place, "is a directive that is not understood: `$patch: delete` may stand in an entry of a list");
    if (value === null) delete merged[key];
    else merged[key] = mergeValue(merged[key], value, place, MERGE_KEYS[key]);
  }
  return merged;
}

function mergeValue(base: unknown, value: unknown, path: string, mergeKey: string | undefined): unknown {
  if (Array.isArray(base) && !Array.isArray(value)) throw invalid(path, "is a list in a Job");
  if (isObject(base) && !isObject(value)) throw invalid(path, "is a mapping in a Job");
  if (Array.isArray(value)) return mergeKey === undefined ? value : mergeList((base as unknown[] | undefined) ?? [], value, path, mergeKey);
  if (!isObject(value)) return value;
  if (base !== undefined && !isObject(base)) throw invalid(path, "is a single value in a Job");
  return mergeObject(base ?? {}, value, path);
}

function mergeList(base: readonly unknown[], patch: readonly unknown[], path: string, mergeKey: string): unknown[] {
  const merged = [...base] as Json[];
  for (const [index, entry] of patch.entries()) {
    const id = isObject(entry) ? entry[mergeKey] : undefined;
    if (!isObject(entry) || (typeof id !== "string" && typeof id !== "number"))
      throw invalid(`${path}[${index}]`, `has no ${mergeKey}, which tells the entries apart`);
    const { $patch, ...change } = entry;
    if ($patch !== undefined && $patch !== "delete" && $patch !== "replace")
      throw invalid(`${path}[${id}].$patch`, "is neither `delete` nor `replace`");
    const at = merged.findIndex((known) => known[mergeKey] === id);
    if ($patch === "delete") merged.splice(at, at < 0 ? 0 : 1);
    else if (at < 0) merged.push(mergeObject({}, change, `${path}[${id}]`));
    else merged[at] = mergeObject($patch === "replace" ? {} : (merged[at] ?? {}), change, `${path}[${id}]`);
  }
  return merged;
}

/** A path's parts are separated by dots; `[x]` finds an entry by its merge key. */
function valueAt(root: Json, path: string): unknown {
  let node: unknown = root;
  for (const [, key = "", entry] of path.matchAll(/([^.[\]]+)(?:\[([^\]]+)\])?/g)) {
    node = isObject(node) ? node[key] : undefined;
    if (entry !== undefined) {
      const mergeKey = MERGE_KEYS[key] ?? "name";
      node = Array.isArray(node) ? (node as Json[]).find((one) => one[mergeKey] === entry) : undefined;
    }
  }
  return node;
}

function isObject(value: unknown): value is Json {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function isEqual(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function invalid(field: string, problem: string): Error {
  return nightshiftError("job_template_invalid", { field, problem });
}
