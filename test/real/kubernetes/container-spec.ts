import { chmodSync, chownSync, existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import type { V1Container, V1Pod } from "@kubernetes/client-node";
import type { Sandbox } from "./bridge.ts";
import type { ContainerSpec, Image, Mount } from "./container.ts";
import { expand } from "./environment.ts";
import { NotReadyError } from "./references.ts";

export interface SpecContext {
  env: Readonly<Record<string, string>>;
  mounts: readonly Mount[];
  sandbox: Sandbox;
  attempt: number;
  /** The pod's folder. */
  home: string;
  logs: string;
}

/** What one attempt at a container is started with. @throws NotReadyError for a root user where none may be */
export function specOf(pod: V1Pod, container: V1Container, image: Image, context: SpecContext): ContainerSpec {
  const { env, mounts, sandbox, attempt, home, logs } = context;
  const { name = "", namespace = "" } = pod.metadata ?? {};
  const [own, shared] = [container.securityContext, pod.spec?.securityContext];
  const user = own?.runAsUser ?? shared?.runAsUser ?? image.user ?? 0;
  if ((own?.runAsNonRoot ?? shared?.runAsNonRoot) === true && user === 0)
    throw new NotReadyError("CreateContainerConfigError", "container has runAsNonRoot and image will run as root");
  const group = own?.runAsGroup ?? shared?.runAsGroup ?? user;
  const fsGroup = shared?.fsGroup === undefined ? [] : [shared.fsGroup];
  const words = (list: readonly string[] | undefined): string[] | undefined => list?.map((word) => expand(word, env));
  const argv = container.command === undefined ? [...image.entrypoint] : (words(container.command) ?? []);
  const args = words(container.args) ?? (container.command === undefined ? (image.args ?? []) : []);
  return {
    home: join(home, `${container.name}-${attempt}`),
    logFile: join(logs, `${namespace}_${name}_${container.name}.log`),
    hostname: pod.spec?.hostname ?? name,
    ip: sandbox.ip,
    namespace,
    enter: sandbox.enter,
    argv: [...argv, ...args],
    env,
    workingDir: container.workingDir ?? image.workingDir ?? "/",
    mounts,
    user,
    group,
    groups: [...fsGroup, ...(shared?.supplementalGroups ?? [])],
    isRootReadOnly: own?.readOnlyRootFilesystem === true,
    isRestricted: own?.capabilities?.drop?.includes("ALL") === true,
  };
}

/** A folder within a volume is made on first use, for those who may write the volume. */
export function makeSubPath(path: string, fsGroup: number | undefined): void {
  if (existsSync(path)) return;
  mkdirSync(path, { recursive: true });
  chmodSync(path, fsGroup === undefined ? 0o755 : 0o2775);
  if (fsGroup !== undefined) chownSync(path, 0, fsGroup);
}
