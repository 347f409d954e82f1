import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { V1PersistentVolume, V1PersistentVolumeClaim, V1Pod, V1Volume, V1VolumeProjection } from "@kubernetes/client-node";
import { KubeError, type KubeApi } from "./api.ts";
import { NotReadyError, podField, readData } from "./references.ts";

export interface VolumeContext {
  api: KubeApi;
  pod: V1Pod;
  ip: string;
  /** The pod's own folder. */
  home: string;
}

interface VolumeFile {
  data: Buffer;
  mode: number;
}

interface KeyToPath {
  key: string;
  path: string;
  mode?: number;
}

/**
 * Where the files of a pod's volume are on this machine, made if need be. What comes from a ConfigMap or a Secret is written once: later changes of those do not
 * reach it. A memory volume is a folder like any other.
 * @throws NotReadyError ContainerCreating for a source that is not there, which is tried again
 */
export async function volumeDirectory(volume: V1Volume, context: VolumeContext): Promise<string> {
  const own = join(context.home, "volumes", volume.name);
  const fsGroup = context.pod.spec?.securityContext?.fsGroup;
  if (volume.hostPath !== undefined) return volume.hostPath.path;
  if (volume.persistentVolumeClaim !== undefined) {
    const directory = await claimedDirectory(volume.persistentVolumeClaim.claimName, context);
    giveToGroup(directory, fsGroup);
    return directory;
  }
  if (existsSync(own)) return own;
  const files = volume.emptyDir === undefined ? await filesOf(volume, context) : new Map<string, VolumeFile>();
  mkdirSync(own, { recursive: true });
  if (volume.emptyDir !== undefined) {
    chmodSync(own, 0o777);
    giveToGroup(own, fsGroup);
  }
  for (const [path, { data, mode }] of files) {
    const file = join(own, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, data);
    // As the real one: a pod's group may read what only its owner could.
    chmodSync(file, fsGroup === undefined ? mode : mode | 0o040);
    if (fsGroup !== undefined) chownSync(file, 0, fsGroup);
  }
  return own;
}

/** New files belong to the group of their folder. */
function giveToGroup(directory: string, fsGroup: number | undefined): void {
  if (fsGroup === undefined) return;
  chownSync(directory, -1, fsGroup);
  chmodSync(directory, readdirSync(directory).length === 0 ? 0o2777 : 0o2775);
}

async function filesOf(volume: V1Volume, context: VolumeContext): Promise<Map<string, VolumeFile>> {
  const { configMap, secret, downwardAPI, projected } = volume;
  const sources = projected?.sources ?? sourcesOf(volume);
  if (sources.length === 0 && projected === undefined) throw new Error(`the test kubelet does not know the kind of volume ${volume.name}`);
  const mode = projected?.defaultMode ?? configMap?.defaultMode ?? secret?.defaultMode ?? downwardAPI?.defaultMode ?? 0o644;
  const files = new Map<string, VolumeFile>();
  for (const source of sources) for (const [path, file] of await projectedFiles(source, mode, context)) files.set(path, file);
  return files;
}

/** Of a volume with one source, as if it were projected. */
function sourcesOf({ configMap, secret, downwardAPI }: V1Volume): V1VolumeProjection[] {
  if (configMap !== undefined) return [{ configMap }];
  if (downwardAPI !== undefined) return [{ downwardAPI }];
  if (secret === undefined) return [];
  const { secretName: name = "", items, optional = false } = secret;
  return [{ secret: { name, optional, ...(items === undefined ? {} : { items }) } }];
}

async function projectedFiles(source: V1VolumeProjection, mode: number, context: VolumeContext): Promise<[string, VolumeFile][]> {
  const { configMap, secret, downwardAPI, serviceAccountToken } = source;
  if (serviceAccountToken !== undefined) {
    const data = Buffer.from(await serviceAccountTokenOf(serviceAccountToken, context));
    return [[serviceAccountToken.path, { data, mode }]];
  }
  if (downwardAPI !== undefined) {
    return (downwardAPI.items ?? []).map(({ path, fieldRef, mode: own }) => {
      const text = fieldRef === undefined ? "" : podField(fieldRef, context.pod, context.ip);
      return [path, { data: Buffer.from(text), mode: own ?? mode }];
    });
  }
  const named = configMap ?? secret;
  const kind = configMap === undefined ? "secrets" : "configmaps";
  return keyFiles(kind, named?.name ?? "", { items: named?.items ?? null, isOptional: named?.optional ?? false, mode }, context);
}

async function keyFiles(
  kind: "configmaps" | "secrets",
  name: string,
  { items, isOptional, mode }: { items: readonly KeyToPath[] | null; isOptional: boolean; mode: number },
  { api, pod }: VolumeContext,
): Promise<[string, VolumeFile][]> {
  const data = await readData(api, kind, pod.metadata?.namespace ?? "", name);
  if (data === null) {
    if (isOptional) return [];
    throw new NotReadyError("ContainerCreating", `${kind === "secrets" ? "secret" : "configmap"} "${name}" not found`);
  }
  const wanted = items ?? [...data.keys()].map((key): KeyToPath => ({ key, path: key }));
  return wanted.flatMap(({ key, path, mode: own }): [string, VolumeFile][] => {
    const found = data.get(key);
    if (found !== undefined) return [[path, { data: found, mode: own ?? mode }]];
    if (isOptional) return [];
    throw new NotReadyError("ContainerCreating", `references non-existent ${kind === "secrets" ? "secret" : "config"} key: ${key}`);
  });
}

async function serviceAccountTokenOf(
  { audience, expirationSeconds }: { audience?: string; expirationSeconds?: number },
  { api, pod }: VolumeContext,
): Promise<string> {
  const { namespace, name, uid } = pod.metadata ?? {};
  const request = {
    apiVersion: "authentication.k8s.io/v1",
    kind: "TokenRequest",
    spec: {
      ...(audience === undefined ? {} : { audiences: [audience] }),
      // Never renewed here: no test runs as long.
      expirationSeconds: Math.max(expirationSeconds ?? 3600, 3600),
      boundObjectRef: { apiVersion: "v1", kind: "Pod", name, uid },
    },
  };
  const account = pod.spec?.serviceAccountName ?? "default";
  const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${account}/token`;
  return (await api.create<{ status: { token: string } }>(path, request)).status.token;
}

async function claimedDirectory(claimName: string, { api, pod }: VolumeContext): Promise<string> {
  try {
    const claim = await api.get<V1PersistentVolumeClaim>(
      `/api/v1/namespaces/${pod.metadata?.namespace}/persistentvolumeclaims/${claimName}`,
    );
    const volume = await api.get<V1PersistentVolume>(`/api/v1/persistentvolumes/${claim.spec?.volumeName ?? ""}`);
    const path = volume.spec?.hostPath?.path;
    if (path === undefined) throw new Error(`the volume of claim ${claimName} is no folder of this machine`);
    return path;
  } catch (error) {
    if (error instanceof KubeError && error.code === 404)
      throw new NotReadyError("ContainerCreating", `persistentvolumeclaim "${claimName}" not found`);
    throw error;
  }
}
