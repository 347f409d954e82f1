import { setTimeout as sleep } from "node:timers/promises";
import type { V1Container } from "@kubernetes/client-node";
import { startContainer, type ContainerProcess, type ContainerSpec } from "./container.ts";
import type { ContainerView } from "./pod-status.ts";
import { handle, startProbe, type ProbeTarget } from "./probe.ts";
import { NotReadyError } from "./references.ts";

/** One container of a pod over all its attempts. */
export interface ContainerLife {
  readonly view: Readonly<ContainerView>;
  /** Resolves when it has started (its startup probe passed, where it has one) or has finished. */
  readonly started: Promise<void>;
  /** Resolves when it has ended and is not started again. */
  readonly finished: Promise<void>;
  /** preStop, SIGTERM and after `graceSeconds` SIGKILL. Resolves when it is gone. */
  stop(graceSeconds: number): Promise<void>;
  /** What a command is an argument of to run inside; null while nothing runs there. */
  inside(): readonly string[] | null;
  /** As the kernel ends a container that takes more memory than it may. */
  killForMemory(): void;
  /** kill -9 of its command, by nobody's order: what its policy says of an end follows. */
  killNow(): void;
  /** SIGSTOP of its command: connections stay open and nothing is answered until what this returns is called. */
  freeze(): () => void;
}

export interface ContainerLifeOptions {
  container: V1Container;
  kind: ContainerView["kind"];
  policy: "Always" | "OnFailure" | "Never";
  ip: string;
  /** Of the pod; a liveness probe may have its own. */
  graceSeconds: number;
  /** What the next attempt is started with. @throws NotReadyError when something that it needs is missing */
  prepare: (attempt: number) => Promise<ContainerSpec>;
  /** The view changed. */
  onChange: () => void;
  /** Something that an operator reads in the pod's events. */
  say: (type: "Normal" | "Warning", reason: string, message: string) => void;
}

/** The real one waits 10 s first and 5 min at most. */
const BACK_OFF_MS = { first: 250, most: 5_000 };
/** What is missing is looked for again after this long. */
const RETRY_MS = 500;

export function startContainerLife(options: ContainerLifeOptions): ContainerLife {
  const { container, kind, onChange, say } = options;
  const view: ContainerView = {
    ...{ name: container.name, image: container.image ?? "", kind, lastState: null, restartCount: 0 },
    ...{ isReady: false, isStarted: false, isFinished: false, state: { waiting: { reason: "ContainerCreating" } } },
  };
  const started = Promise.withResolvers<void>();
  const stopping = new AbortController();
  let [current, isOverMemory]: [ContainerProcess | null, boolean] = [null, false];
  /** As it was last told to stop. */
  let stopSeconds = options.graceSeconds;
  const target: ProbeTarget = {
    container,
    ip: options.ip,
    execute: async (argv, limitMs) => (await current?.execute(argv, limitMs)) ?? false,
  };
  const change = (part: Partial<ContainerView>): void => {
    Object.assign(view, part);
    if (view.isStarted || view.isFinished) started.resolve();
    onChange();
  };

  /** Null when it is to be stopped before it could be started. */
  async function prepared(attempt: number): Promise<ContainerSpec | null> {
    while (!stopping.signal.aborted) {
      try {
        return await options.prepare(attempt);
      } catch (error) {
        const reason = error instanceof NotReadyError ? error.reason : "CreateContainerError";
        const message = error instanceof Error ? error.message : String(error);
        const isKnown = "waiting" in view.state && view.state.waiting.reason === reason && view.state.waiting.message === message;
        if (!isKnown) {
          change({ state: { waiting: { reason, message } } });
          say("Warning", "Failed", `Error: ${message}`);
        }
        await sleep(RETRY_MS, undefined, { signal: stopping.signal }).catch(() => {});
      }
    }
    return null;
  }

  function watch(process: ContainerProcess): () => void {
    const { startupProbe, readinessProbe, livenessProbe } = container;
    const ends: (() => void)[] = [];
    const unhealthy = (name: string, graceSeconds = options.graceSeconds): void => {
      say("Warning", "Unhealthy", `${name} probe failed`);
      say("Normal", "Killing", `Container ${container.name} failed ${name.toLowerCase()} probe, will be restarted`);
      ends.forEach((end) => end());
      void terminate(process, graceSeconds);
    };
    const afterStart = (): void => {
      change({ isStarted: true, isReady: readinessProbe === undefined });
      if (readinessProbe !== undefined)
        ends.push(startProbe(readinessProbe, target, false, (isReady) => view.isReady !== isReady && change({ isReady })));
      const grace = livenessProbe?.terminationGracePeriodSeconds;
      if (livenessProbe !== undefined) ends.push(startProbe(livenessProbe, target, true, (isOk) => !isOk && unhealthy("Liveness", grace)));
    };
    if (startupProbe === undefined) afterStart();
    else
      ends.push(
        startProbe(startupProbe, target, false, (isOk) => (isOk ? (ends.forEach((end) => end()), afterStart()) : unhealthy("Startup"))),
      );
    return () => ends.forEach((end) => end());
  }

  async function terminate(process: ContainerProcess, graceSeconds: number): Promise<void> {
    const deadline = performance.now() + graceSeconds * 1000;
    const hook = container.lifecycle?.preStop;
    if (hook !== undefined && graceSeconds > 0)
      await Promise.race([handle(hook, target, graceSeconds * 1000), process.exited, sleep(graceSeconds * 1000)]);
    process.signal("SIGTERM");
    const timer = setTimeout(() => process.signal("SIGKILL"), Math.max(0, deadline - performance.now()));
    await process.exited;
    clearTimeout(timer);
  }

  async function attempt(spec: ContainerSpec): Promise<number> {
    const startedAt = time();
    current = await startContainer(spec);
    change({ state: { running: { startedAt } }, isStarted: false });
    say("Normal", "Started", `Started container ${container.name}`);
    const endWatch = watch(current);
    // It may have been told to stop while it was being started.
    if (stopping.signal.aborted) void terminate(current, stopSeconds);
    const { exitCode } = await current.exited;
    endWatch();
    const reason = isOverMemory ? "OOMKilled" : exitCode === 0 ? "Completed" : "Error";
    const fallsBack = container.terminationMessagePolicy === "FallbackToLogsOnError" && exitCode !== 0;
    const message = current.message(fallsBack);
    [current, isOverMemory] = [null, false];
    const terminated = { exitCode, reason, ...(message === "" ? {} : { message }), startedAt, finishedAt: time() };
    change({ state: { terminated }, isReady: false, isStarted: false });
    return exitCode;
  }

  async function live(): Promise<void> {
    for (let count = 0, backOffMs = BACK_OFF_MS.first; ; count++, backOffMs = Math.min(backOffMs * 2, BACK_OFF_MS.most)) {
      const spec = await prepared(count);
      if (spec === null) break;
      if (count > 0) change({ restartCount: count });
      const exitCode = await attempt(spec);
      const isAgain = options.policy === "Always" || (options.policy === "OnFailure" && exitCode !== 0);
      if (!isAgain || stopping.signal.aborted) break;
      say("Warning", "BackOff", `Back-off restarting failed container ${container.name}`);
      change({ lastState: view.state, state: { waiting: { reason: "CrashLoopBackOff", message: `back-off ${backOffMs} ms` } } });
      await sleep(backOffMs, undefined, { signal: stopping.signal }).catch(() => {});
      if (stopping.signal.aborted) {
        change({ state: view.lastState ?? view.state });
        break;
      }
    }
    change({ isFinished: true, isReady: false });
  }

  const finished = live();
  let stopped: Promise<void> | null = null;
  return {
    view,
    started: started.promise,
    finished,
    inside: () => current?.inside() ?? null,
    async stop(graceSeconds) {
      stopSeconds = graceSeconds;
      stopping.abort();
      if (graceSeconds === 0) current?.signal("SIGKILL");
      // Told twice, it ends as it was told first.
      else if (current !== null) stopped ??= terminate(current, graceSeconds);
      await stopped;
      await finished;
    },
    killNow: () => current?.signal("SIGKILL"),
    freeze() {
      const frozen = current;
      frozen?.signal("SIGSTOP");
      return () => frozen?.signal("SIGCONT");
    },
    killForMemory() {
      isOverMemory = current !== null;
      current?.signal("SIGKILL");
    },
  };
}

/** Seconds are all that the API's times have. */
function time(): string {
  return `${new Date().toISOString().slice(0, 19)}Z`;
}
