import type { V1ConfigMap, V1Container, V1ObjectFieldSelector, V1Pod, V1ResourceFieldSelector, V1Secret } from "@kubernetes/client-node";
import { KubeError, type KubeApi } from "./api.ts";
import { NETWORK } from "./bridge.ts";
import { quantity } from "./quantity.ts";

/** A pod cannot start for now, with the reason that its status gives. Tried again until it can. */
export class NotReadyError extends Error {
  readonly reason: string;
  constructor(reason: string, message: string) {
    super(message);
    this.name = "NotReadyError";
    this.reason = reason;
  }
}

/** The data of a ConfigMap or a Secret; null when it is not there. */
export async function readData(
  api: KubeApi,
  kind: "configmaps" | "secrets",
  namespace: string,
  name: string,
): Promise<Map<string, Buffer> | null> {
  let object: V1ConfigMap & V1Secret;
  try {
    object = await api.get(`/api/v1/namespaces/${namespace}/${kind}/${name}`);
  } catch (error) {
    if (error instanceof KubeError && error.code === 404) return null;
    throw error;
  }
  const text = kind === "configmaps" ? (object.data ?? {}) : {};
  const binary = kind === "configmaps" ? (object.binaryData ?? {}) : (object.data ?? {});
  return new Map([
    ...Object.entries(text).map(([key, value]) => [key, Buffer.from(value)] as const),
    ...Object.entries(binary).map(([key, value]) => [key, Buffer.from(value, "base64")] as const),
  ]);
}

/** What the downward API says of a field, `ip` being the pod's. @throws an Error of a field that it does not know */
export function podField({ fieldPath }: V1ObjectFieldSelector, pod: V1Pod, ip: string): string {
  const { metadata, spec } = pod;
  const [, map, key] = /^metadata\.(labels|annotations)\['(.+)'\]$/.exec(fieldPath) ?? [];
  if (map !== undefined) return metadata?.[map as "labels" | "annotations"]?.[key ?? ""] ?? "";
  const lines = (values: Record<string, string> = {}): string =>
    Object.entries(values)
      .map(([name, value]) => `${name}=${JSON.stringify(value)}`)
      .join("\n");
  const fields: Record<string, string | undefined> = {
    "metadata.name": metadata?.name,
    "metadata.namespace": metadata?.namespace,
    "metadata.uid": metadata?.uid,
    "metadata.labels": lines(metadata?.labels),
    "metadata.annotations": lines(metadata?.annotations),
    "spec.nodeName": spec?.nodeName,
    "spec.serviceAccountName": spec?.serviceAccountName,
    "status.podIP": ip,
    "status.podIPs": ip,
    "status.hostIP": NETWORK.nodeIp,
    "status.hostIPs": NETWORK.nodeIp,
  };
  const value = fields[fieldPath];
  if (value === undefined) throw new Error(`the test kubelet knows no field ${fieldPath}`);
  return value;
}

/** A container's own requests and limits; of a limit that it does not have, the node's. */
export function resourceField(
  { resource, divisor, containerName }: V1ResourceFieldSelector,
  pod: V1Pod,
  container: V1Container,
  node: Readonly<Record<string, string>>,
): string {
  const [kind, name] = resource.split(/\.(.*)/s) as ["limits" | "requests", string];
  const containers = [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])];
  const { resources } = containers.find((other) => other.name === containerName) ?? container;
  const value = resources?.[kind]?.[name] ?? node[name] ?? "0";
  const unit = divisor === undefined || divisor === "0" || divisor === "" ? "1" : divisor;
  return String(Math.ceil(quantity(value) / quantity(unit)));
}
