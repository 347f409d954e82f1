import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { V1Container, V1Pod } from "@kubernetes/client-node";
import { KubeError, type KubeApi } from "./api.ts";
import { startSandbox, type Sandbox } from "./bridge.ts";
import { makeSubPath, specOf } from "./container-spec.ts";
import { startContainerLife, type ContainerLife } from "./container-life.ts";
import type { ContainerSpec, Image, Mount } from "./container.ts";
import { environmentOf, expand } from "./environment.ts";
import { statusOf, type Condition, type ContainerView } from "./pod-status.ts";
import { NotReadyError } from "./references.ts";
import { volumeDirectory } from "./volumes.ts";

export interface PodOptions {
  api: KubeApi;
  /** Which pod of the cluster it is. */
  index: number;
  /** The pod's folder. */
  home: string;
  /** Where its containers' logs stay. */
  logs: string;
  /** Null: there is no such image. */
  image(name: string): Image | null;
  capacity: Readonly<Record<string, string>>;
}

/** A pod that was bound to this node, from its network to its last status. */
export interface PodRun {
  readonly views: readonly Readonly<ContainerView>[];
  inside(container: string): readonly string[] | null;
  /** The object was marked for deletion: everything is stopped, then the object removed. */
  terminate(graceSeconds: number): void;
  /** The object is gone, or the node goes: no grace. Resolves when nothing of it is left. */
  kill(): Promise<void>;
  killForMemory(container: string): void;
  killNow(container: string): void;
  freeze(container: string): () => void;
}

const RETRY_MS = 300;

export function startPod(pod: V1Pod, options: PodOptions): PodRun {
  const { api, home } = options;
  const { name = "", namespace = "", uid = "" } = pod.metadata ?? {};
  const path = `/api/v1/namespaces/${namespace}/pods/${name}`;
  const stopping = new AbortController();
  const lives: ContainerLife[] = [];
  const facts = { ip: null as string | null, startTime: `${new Date().toISOString().slice(0, 19)}Z`, isOver: false };
  let sandbox: Sandbox | null = null;
  let [graceSeconds, isGone] = [pod.spec?.terminationGracePeriodSeconds ?? 30, false];
  let conditions: readonly Condition[] = [];
  let [isDirty, posting]: [boolean, Promise<void>] = [false, Promise.resolve()];

  /** All containers, those that have not begun with what is known of them. */
  function views(): ContainerView[] {
    const all = [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])];
    return all.map(
      (container) => lives.find(({ view }) => view.name === container.name)?.view ?? unbegun(container, kindOf(container, pod)),
    );
  }

  /** The newest status, once the one that is on its way has arrived; as long as it takes. */
  function post(): void {
    if (isDirty) return;
    isDirty = true;
    posting = postAfter(posting);
  }

  async function postAfter(last: Promise<void>): Promise<void> {
    await last;
    while (!isGone) {
      isDirty = false;
      const status = statusOf(pod, views(), { ...facts, now: `${new Date().toISOString().slice(0, 19)}Z`, before: conditions });
      try {
        await api.patch(`${path}/status`, { metadata: { uid }, status });
        conditions = status.conditions;
        return;
      } catch (error) {
        // Not there any more, or another one of the same name.
        if (error instanceof KubeError && error.code === 422) say("Warning", "FailedStatusUpdate", error.message);
        if (error instanceof KubeError && [404, 409, 422].includes(error.code)) return;
        await sleep(RETRY_MS);
      }
    }
  }

  function say(type: string, reason: string, message: string): void {
    const involvedObject = { apiVersion: "v1", kind: "Pod", name, namespace, uid };
    const now = new Date().toISOString();
    const metadata = { generateName: `${name.slice(0, 200)}.`, namespace };
    const event = {
      metadata,
      involvedObject,
      type,
      reason,
      message,
      source: { component: "kubelet" },
      firstTimestamp: now,
      lastTimestamp: now,
      count: 1,
    };
    // Nothing waits for it, and a namespace that is being deleted takes none.
    void api.create(`/api/v1/namespaces/${namespace}/events`, event).catch(() => {});
  }

  async function prepare(container: V1Container, attempt: number): Promise<ContainerSpec> {
    const image = options.image(container.image ?? "");
    if (image === null) throw new NotReadyError("ErrImagePull", `the test has no image ${container.image}`);
    if (sandbox === null) throw new Error("no network");
    const env = await environmentOf(container, image.env ?? {}, { api, pod, ip: sandbox.ip, capacity: options.capacity });
    return specOf(pod, container, image, { env, mounts: await mountsOf(container, image), sandbox, attempt, home, logs: options.logs });
  }

  async function mountsOf(container: V1Container, image: Image): Promise<Mount[]> {
    const mounts: Mount[] = (image.folders ?? []).map((folder) => ({ ...folder, isReadOnly: true }));
    for (const { name, mountPath, subPath, subPathExpr, readOnly } of container.volumeMounts ?? []) {
      const volume = pod.spec?.volumes?.find((other) => other.name === name);
      if (volume === undefined) throw new Error(`there is no volume ${name}`);
      const directory = await volumeDirectory(volume, { api, pod, ip: facts.ip ?? "", home });
      const source = join(
        directory,
        subPathExpr === undefined ? (subPath ?? "") : expand(subPathExpr, { POD_NAME: pod.metadata?.name ?? "" }),
      );
      makeSubPath(source, pod.spec?.securityContext?.fsGroup);
      const isWritable = volume.emptyDir !== undefined || volume.persistentVolumeClaim !== undefined || volume.hostPath !== undefined;
      mounts.push({
        source,
        target: mountPath,
        isReadOnly: readOnly === true || volume.persistentVolumeClaim?.readOnly === true || !isWritable,
      });
    }
    // Outer folders before those within them.
    return mounts.toSorted((a, b) => a.target.length - b.target.length);
  }

  function begin(container: V1Container): ContainerLife {
    const kind = kindOf(container, pod);
    const ofPod = (pod.spec?.restartPolicy ?? "Always") as "Always" | "OnFailure" | "Never";
    // An init container that succeeded has done its work.
    const policy = kind === "sidecar" ? "Always" : kind === "init" && ofPod === "Always" ? "OnFailure" : ofPod;
    const life = startContainerLife({
      ...{ container, kind, policy, ip: facts.ip ?? "", graceSeconds, onChange: post, say },
      prepare: (attempt) => prepare(container, attempt),
    });
    lives.push(life);
    return life;
  }

  /** Null when the pod is to stop, or an init container failed for good. */
  async function initialise(): Promise<true | null> {
    for (const container of pod.spec?.initContainers ?? []) {
      if (stopping.signal.aborted) return null;
      const life = begin(container);
      await (kindOf(container, pod) === "sidecar" ? life.started : life.finished);
      const { state } = life.view;
      if (life.view.kind === "init" && !("terminated" in state && state.terminated.exitCode === 0)) return null;
    }
    return stopping.signal.aborted ? null : true;
  }

  async function stopAll(seconds: () => number): Promise<void> {
    await Promise.all(lives.filter(({ view }) => view.kind !== "sidecar").map((life) => life.stop(seconds())));
    // The one that started first is what the others may still need.
    for (const life of lives.filter(({ view }) => view.kind === "sidecar").toReversed()) await life.stop(seconds());
  }

  async function run(): Promise<void> {
    post();
    sandbox = await startSandbox(pod.spec?.hostname ?? name, options.index);
    facts.ip = sandbox.ip;
    const aborted = new Promise((resolve) => stopping.signal.addEventListener("abort", resolve));
    if ((await initialise()) !== null) {
      const mains = (pod.spec?.containers ?? []).map(begin);
      await Promise.race([Promise.all(mains.map(({ finished }) => finished)), aborted]);
    }
    const deadline = performance.now() + graceSeconds * 1000;
    await stopAll(() => Math.max(0, (deadline - performance.now()) / 1000));
    facts.isOver = true;
    post();
    await posting;
    await sandbox.close();
  }

  const ended = run().catch((error: unknown) => say("Warning", "FailedCreatePodSandBox", String(error)));
  return {
    get views() {
      return views();
    },
    inside: (container) => lives.find(({ view }) => view.name === container)?.inside() ?? null,
    terminate(seconds) {
      if (stopping.signal.aborted) return;
      graceSeconds = seconds;
      stopping.abort();
      // Stopping begins at once, also for an init container that the run waits for.
      void stopAll(() => seconds)
        .then(() => ended)
        .then(() => removeObject(api, path, uid, () => isGone));
    },
    async kill() {
      isGone = true;
      graceSeconds = 0;
      stopping.abort();
      await stopAll(() => 0);
      await ended;
    },
    killNow: (container) => lives.find(({ view }) => view.name === container)?.killNow(),
    killForMemory: (container) => lives.find(({ view }) => view.name === container)?.killForMemory(),
    freeze(container) {
      const life = lives.find(({ view }) => view.name === container);
      if (life === undefined) throw new Error(`no container ${container} runs in ${path}`);
      return life.freeze();
    },
  };
}

function kindOf(container: V1Container, pod: V1Pod): ContainerView["kind"] {
  if (pod.spec?.containers.includes(container) === true) return "main";
  return container.restartPolicy === "Always" ? "sidecar" : "init";
}

function unbegun({ name, image = "" }: V1Container, kind: ContainerView["kind"]): ContainerView {
  const state = { waiting: { reason: kind === "main" ? "PodInitializing" : "ContainerCreating" } };
  return { name, image, kind, state, lastState: null, restartCount: 0, isReady: false, isStarted: false, isFinished: false };
}

/** What a kubelet does last: only then may a controller start another in its place. */
async function removeObject(api: KubeApi, path: string, uid: string, isGone: () => boolean): Promise<void> {
  while (!isGone()) {
    try {
      return await api.remove(path, { gracePeriodSeconds: 0, preconditions: { uid } });
    } catch (error) {
      if (error instanceof KubeError && [404, 409].includes(error.code)) return;
      await sleep(RETRY_MS);
    }
  }
}
