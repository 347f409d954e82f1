import type { V1Container, V1EnvFromSource, V1EnvVar, V1Pod } from "@kubernetes/client-node";
import type { KubeApi } from "./api.ts";
import { NETWORK } from "./bridge.ts";
import { NotReadyError, podField, readData, resourceField } from "./references.ts";

export interface EnvironmentContext {
  api: KubeApi;
  pod: V1Pod;
  ip: string;
  /** Of the node, for limits that a container does not have. */
  capacity: Readonly<Record<string, string>>;
}

/**
 * The variables of one container, those of its image first. Of Services it gets the API server's only: the others' names are for the DNS.
 * @throws NotReadyError CreateContainerConfigError for a Secret, a ConfigMap or a key that is not there
 */
export async function environmentOf(
  container: V1Container,
  image: Readonly<Record<string, string>>,
  context: EnvironmentContext,
): Promise<Record<string, string>> {
  const hostname = context.pod.spec?.hostname ?? context.pod.metadata?.name ?? "";
  const service = { KUBERNETES_SERVICE_HOST: NETWORK.apiServerIp, KUBERNETES_SERVICE_PORT: "443", KUBERNETES_SERVICE_PORT_HTTPS: "443" };
  const variables: Record<string, string> = { HOSTNAME: hostname, HOME: "/", ...image, ...service };
  for (const source of container.envFrom ?? []) Object.assign(variables, await valuesFrom(source, context));
  for (const variable of container.env ?? []) {
    const value = await valueOf(variable, container, context);
    if (value !== null) variables[variable.name] = expand(value, variables);
  }
  return variables;
}

/** `$(NAME)` becomes the variable's value; of one that there is not, it stays. `$$` is a dollar sign. */
export function expand(text: string, variables: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\$\$|\$\(([^()\s]+)\)/g, (all, name: string | undefined) =>
    name === undefined ? "$" : (variables[name] ?? all),
  );
}

async function valuesFrom(
  { configMapRef, secretRef, prefix = "" }: V1EnvFromSource,
  context: EnvironmentContext,
): Promise<Record<string, string>> {
  const ref = configMapRef ?? secretRef;
  const data = await dataOf(configMapRef === undefined ? "secrets" : "configmaps", ref?.name ?? "", ref?.optional ?? false, context);
  return Object.fromEntries([...(data ?? [])].map(([key, value]) => [`${prefix}${key}`, value.toString()]));
}

/** Null for an optional one that is not there. */
async function valueOf({ value, valueFrom }: V1EnvVar, container: V1Container, context: EnvironmentContext): Promise<string | null> {
  if (valueFrom === undefined) return value ?? "";
  if (valueFrom.fieldRef !== undefined) return podField(valueFrom.fieldRef, context.pod, context.ip);
  if (valueFrom.resourceFieldRef !== undefined) return resourceField(valueFrom.resourceFieldRef, context.pod, container, context.capacity);
  const kind = valueFrom.configMapKeyRef === undefined ? "secrets" : "configmaps";
  const ref = valueFrom.configMapKeyRef ?? valueFrom.secretKeyRef;
  if (ref === undefined) throw new Error("the test kubelet knows this source of a variable not");
  const found = (await dataOf(kind, ref.name ?? "", ref.optional ?? false, context))?.get(ref.key);
  if (found !== undefined) return found.toString();
  if (ref.optional === true) return null;
  const where = `${kind === "secrets" ? "Secret" : "ConfigMap"} ${context.pod.metadata?.namespace}/${ref.name}`;
  throw new NotReadyError("CreateContainerConfigError", `couldn't find key ${ref.key} in ${where}`);
}

async function dataOf(
  kind: "configmaps" | "secrets",
  name: string,
  isOptional: boolean,
  { api, pod }: EnvironmentContext,
): Promise<Map<string, Buffer> | null> {
  const data = await readData(api, kind, pod.metadata?.namespace ?? "", name);
  if (data === null && !isOptional)
    throw new NotReadyError("CreateContainerConfigError", `${kind === "secrets" ? "secret" : "configmap"} "${name}" not found`);
  return data;
}
