import type { V1Pod } from "@kubernetes/client-node";
import { NETWORK } from "./bridge.ts";

/** `state` and `lastState` of a container as the API has them. */
export type ContainerState =
  | { waiting: { reason: string; message?: string } }
  | { running: { startedAt: string } }
  | { terminated: { exitCode: number; reason: string; message?: string; startedAt: string; finishedAt: string } };

/** What is known of one container. */
export interface ContainerView {
  name: string;
  image: string;
  kind: "init" | "sidecar" | "main";
  state: ContainerState;
  lastState: ContainerState | null;
  restartCount: number;
  isReady: boolean;
  isStarted: boolean;
  /** It ended and is not started again. */
  isFinished: boolean;
}

export interface Condition {
  type: string;
  status: "True" | "False";
  lastTransitionTime: string;
  reason?: string;
  message?: string;
}

/** A pod's phase. A terminal one comes only with `isOver`: when no process of the pod is left. */
function phaseOf(views: readonly ContainerView[], isOver: boolean): "Pending" | "Running" | "Succeeded" | "Failed" {
  const mains = views.filter(({ kind }) => kind === "main");
  if (isOver) {
    const isFailed = views.some(({ kind, state }) => kind !== "sidecar" && !("terminated" in state && state.terminated.exitCode === 0));
    return isFailed ? "Failed" : "Succeeded";
  }
  const hasBegun = (view: ContainerView): boolean => !("waiting" in view.state) || view.lastState !== null;
  return mains.some(hasBegun) ? "Running" : "Pending";
}

/** The whole status of a pod but the phase of one that was evicted, as a patch. `before` are the conditions that it had, whose times stay where nothing turned. */
export function statusOf(
  pod: V1Pod,
  views: readonly ContainerView[],
  facts: { ip: string | null; startTime: string; isOver: boolean; now: string; before: readonly Condition[] },
): { conditions: Condition[]; phase: string } & Record<string, unknown> {
  const phase = phaseOf(views, facts.isOver);
  const serving = views.filter(({ kind }) => kind !== "init");
  const unready = serving.filter(({ isReady }) => !isReady).map(({ name }) => name);
  const isInitialised = views.every(
    (view) => view.kind === "main" || (view.kind === "sidecar" ? view.isStarted : view.isFinished && exitCodeOf(view) === 0),
  );
  const isReady = unready.length === 0 && phase === "Running";
  const why =
    phase === "Succeeded"
      ? { reason: "PodCompleted" }
      : { reason: "ContainersNotReady", message: `containers with unready status: [${unready.join(" ")}]` };
  const condition = (type: string, isTrue: boolean, reason: object): Condition => {
    const status = isTrue ? "True" : "False";
    const old = facts.before.find((other) => other.type === type);
    const lastTransitionTime = old?.status === status ? old.lastTransitionTime : facts.now;
    return { type, status, lastTransitionTime, ...(isTrue ? {} : reason) };
  };
  const statuses = (wanted: readonly ContainerView[]): object[] => wanted.map(containerStatus);
  return {
    phase,
    startTime: facts.startTime,
    hostIP: NETWORK.nodeIp,
    hostIPs: [{ ip: NETWORK.nodeIp }],
    ...(facts.ip === null ? {} : { podIP: facts.ip, podIPs: [{ ip: facts.ip }] }),
    conditions: [
      condition("PodReadyToStartContainers", facts.ip !== null && !facts.isOver, {}),
      condition("Initialized", isInitialised, { reason: "ContainersNotInitialized" }),
      condition("ContainersReady", isReady, why),
      condition("Ready", isReady, why),
    ],
    qosClass: pod.status?.qosClass,
    initContainerStatuses: statuses(views.filter(({ kind }) => kind !== "main")),
    containerStatuses: statuses(views.filter(({ kind }) => kind === "main")),
  };
}

function exitCodeOf({ state }: ContainerView): number | null {
  return "terminated" in state ? state.terminated.exitCode : null;
}

function containerStatus(view: ContainerView): object {
  const { name, image, state, lastState, restartCount, isReady, isStarted } = view;
  return {
    name,
    image,
    imageID: image,
    state,
    lastState: lastState ?? {},
    restartCount,
    // Of an init container: that it did what it was there for.
    ready: view.kind === "init" ? exitCodeOf(view) === 0 : isReady,
    started: isStarted,
  };
}
