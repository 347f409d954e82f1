import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { V1PersistentVolumeClaim } from "@kubernetes/client-node";
import { runTool } from "../parts/part.ts";
import { KubeError, type KubeApi } from "./api.ts";

/** `standard`, the default: folders without a limit. `limited`: as large as the claim says, so that they can be filled up. */
const CLASSES = ["standard", "limited"] as const;

export interface Provisioner {
  /** The folder of a claim's volume on this machine, once it is bound. */
  directoryOf(namespace: string, claim: string): string;
  close(): Promise<void>;
}

/** Gives every claim of its two storage classes a folder below `home`, as one volume that stays when the claim goes. */
export async function startProvisioner(api: KubeApi, home: string): Promise<Provisioner> {
  const mounted: string[] = [];
  const directoryOf = (namespace: string, name: string): string => join(home, `${namespace}_${name}`);
  for (const name of CLASSES) {
    const annotations = { "storageclass.kubernetes.io/is-default-class": String(name === "standard") };
    const storageClass = {
      metadata: { name, annotations },
      provisioner: "nightshift.test/folder",
      reclaimPolicy: "Retain",
      volumeBindingMode: "Immediate",
    };
    await api.create("/apis/storage.k8s.io/v1/storageclasses", { apiVersion: "storage.k8s.io/v1", kind: "StorageClass", ...storageClass });
  }
  const provide = async (claim: V1PersistentVolumeClaim): Promise<void> => {
    const { name = "", namespace = "", uid = "" } = claim.metadata ?? {};
    const path = directoryOf(namespace, name);
    const storage = claim.spec?.resources?.requests?.["storage"] ?? "1Gi";
    mkdirSync(path, { recursive: true, mode: 0o777 });
    if (claim.spec?.storageClassName === "limited" && !mounted.includes(path)) {
      const size = `size=${storage.replace(/i$/, "")}`;
      await runTool("mount", ["-t", "tmpfs", "-o", `${size},mode=777`, "tmpfs", path], {
        problem: "no limited volume",
        fix: "run as root",
      });
      mounted.push(path);
    }
    await api.create("/api/v1/persistentvolumes", {
      apiVersion: "v1",
      kind: "PersistentVolume",
      metadata: { name: `pv-${uid}`, annotations: { "pv.kubernetes.io/provisioned-by": "nightshift.test/folder" } },
      spec: {
        capacity: { storage },
        accessModes: claim.spec?.accessModes,
        storageClassName: claim.spec?.storageClassName,
        persistentVolumeReclaimPolicy: "Retain",
        hostPath: { path },
        claimRef: { apiVersion: "v1", kind: "PersistentVolumeClaim", namespace, name, uid },
      },
    });
  };
  const claims = api.follow<V1PersistentVolumeClaim>("/api/v1/persistentvolumeclaims", (_key, claim) => {
    const isOurs = (CLASSES as readonly string[]).includes(claim?.spec?.storageClassName ?? "");
    if (claim === null || !isOurs || claim.spec?.volumeName !== undefined) return;
    void provide(claim).catch((error: unknown) => {
      // Already made, for an earlier event of the same claim, or the server is away: then the next list brings it again.
      if (error instanceof KubeError && error.reason !== "AlreadyExists") throw error;
    });
  });
  await claims.isListed;
  return {
    directoryOf,
    async close() {
      claims.close();
      for (const path of mounted) await runTool("umount", ["--lazy", path], { problem: `${path} stays`, fix: "umount it" });
      rmSync(home, { recursive: true, force: true });
    },
  };
}
