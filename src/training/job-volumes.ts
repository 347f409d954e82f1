import type { V1Volume, V1VolumeMount } from "@kubernetes/client-node";
import type { KubernetesJobConfig } from "../config-job-runner.ts";
import { digestsPath } from "./run-files.ts";

/** Where every container of a trainer's pod has the run directory. */
export const RUN_DIRECTORY = "/run/nightshift";
/** Where the trainer keeps digests from run to run, on a claim. */
export const DIGESTS_DIRECTORY = "/var/cache/nightshift";
/** Where `artifact-sync` finds its config. */
export const SYNC_CONFIG_DIRECTORY = "/etc/nightshift";

export interface JobVolumes {
  volumes: V1Volume[];
  trainerMounts: V1VolumeMount[];
  /** Of the containers that bring and take the run's files. */
  syncMounts: V1VolumeMount[];
}

/** The volumes of a trainer's pod. The root of its containers is read-only: what is written goes to the run directory, /tmp or /dev/shm. */
export function volumesOf(
  { runId, agent }: { runId: string; agent: string },
  { runDirectory, modelCache, shmSize }: KubernetesJobConfig,
): JobVolumes {
  const run = { name: "run", mountPath: RUN_DIRECTORY };
  const scratch: V1Volume[] = [
    { name: "tmp", emptyDir: {} },
    // What PyTorch's processes share; a container's own is 64 MiB.
    { name: "shm", emptyDir: { medium: "Memory", sizeLimit: shmSize } },
  ];
  const trainerMounts: V1VolumeMount[] = [
    ...(runDirectory.kind === "claim" ? claimMounts(run, runDirectory.subPath, { runId, agent }) : [run]),
    { name: "tmp", mountPath: "/tmp" },
    { name: "shm", mountPath: "/dev/shm" },
  ];
  const model: V1Volume[] = modelCache === undefined ? [] : [readOnlyClaim("model-cache", modelCache.claimName)];
  if (modelCache !== undefined) {
    const { mountPath, subPath } = modelCache;
    trainerMounts.push({ name: "model-cache", mountPath, readOnly: true, ...(subPath === undefined ? {} : { subPath }) });
  }
  if (runDirectory.kind === "claim") {
    const shared = { name: "run", persistentVolumeClaim: { claimName: runDirectory.claimName } };
    return { volumes: [shared, ...scratch, ...model], trainerMounts, syncMounts: [] };
  }
  const { configMap, sizeLimit } = runDirectory;
  const own = { name: "run", emptyDir: sizeLimit === undefined ? {} : { sizeLimit } };
  const secrets = secretVolumes(runDirectory);
  const syncMounts: V1VolumeMount[] = [
    run,
    { name: "tmp", mountPath: "/tmp" },
    { name: "config", mountPath: SYNC_CONFIG_DIRECTORY, readOnly: true },
    ...secrets.map(({ mount }) => mount),
  ];
  const config = { name: "config", configMap: { name: configMap } };
  return { volumes: [own, ...scratch, ...model, config, ...secrets.map(({ volume }) => volume)], trainerMounts, syncMounts };
}

/** The run's directory, and the agent's digests beside it: of other runs and other agents the trainer sees nothing. */
function claimMounts(
  run: { name: string; mountPath: string },
  runs: string,
  { runId, agent }: { runId: string; agent: string },
): V1VolumeMount[] {
  return [
    { ...run, subPath: joined(runs, runId) },
    { ...run, mountPath: DIGESTS_DIRECTORY, subPath: joined(runs, digestsPath(agent)) },
  ];
}

/** One volume per directory: keys of several Secrets may lie in one. */
function secretVolumes({
  secrets,
}: Extract<KubernetesJobConfig["runDirectory"], { kind: "sync" }>): { volume: V1Volume; mount: V1VolumeMount }[] {
  const directories = [...new Set(secrets.map(({ mountPath }) => mountPath))];
  return directories.map((mountPath, index) => {
    const name = `secrets-${index}`;
    const sources = secrets
      .filter((secret) => secret.mountPath === mountPath)
      .map(({ name: secret, items }) => ({ secret: { name: secret, ...(items === undefined ? {} : { items }) } }));
    return { volume: { name, projected: { defaultMode: 0o440, sources } }, mount: { name, mountPath, readOnly: true } };
  });
}

function readOnlyClaim(name: string, claimName: string): V1Volume {
  return { name, persistentVolumeClaim: { claimName, readOnly: true } };
}

/** A path below a volume's root has no dots and no empty parts. */
function joined(...parts: string[]): string {
  return parts
    .flatMap((part) => part.split("/"))
    .filter((part) => part !== "" && part !== ".")
    .join("/");
}
