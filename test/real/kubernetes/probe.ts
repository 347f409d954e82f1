import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { V1Container, V1LifecycleHandler, V1Probe } from "@kubernetes/client-node";
import { Agent, request } from "undici";

/** What a probe or a hook is tried on. */
export interface ProbeTarget {
  container: V1Container;
  ip: string;
  /** Resolves to whether the command ended with 0 in time. */
  execute(argv: readonly string[], limitMs: number): Promise<boolean>;
}

/**
 * Tries it again and again; calls `onChange` with true when it has turned to success, with false each time that its failures reach their threshold. `isOk` is what
 * counts before the first try. Returns what ends it.
 */
export function startProbe(probe: V1Probe, target: ProbeTarget, isOk: boolean, onChange: (isOk: boolean) => void): () => void {
  const stopping = new AbortController();
  const { initialDelaySeconds = 0, periodSeconds = 10, timeoutSeconds = 1, failureThreshold = 3, successThreshold = 1 } = probe;
  void (async () => {
    let [state, failures, successes] = [isOk, 0, 0];
    await sleep(initialDelaySeconds * 1000, undefined, { signal: stopping.signal });
    for (let isFirst = true; ; isFirst = false) {
      if (!isFirst) await sleep(periodSeconds * 1000, undefined, { signal: stopping.signal });
      const result = await handle(probe, target, timeoutSeconds * 1000);
      if (stopping.signal.aborted) return;
      [failures, successes] = result ? [0, successes + 1] : [failures + 1, 0];
      if (result && !state && successes >= successThreshold) onChange((state = true));
      if (failures < failureThreshold) continue;
      failures = 0;
      onChange((state = false));
    }
  })().catch(() => {});
  return () => stopping.abort();
}

/** One try of a probe, or a hook of a container's life. */
export async function handle(handler: V1Probe & V1LifecycleHandler, target: ProbeTarget, limitMs: number): Promise<boolean> {
  const { exec, httpGet, tcpSocket, grpc } = handler;
  if (handler.sleep !== undefined) return sleep(handler.sleep.seconds * 1000, true);
  if (exec !== undefined) return target.execute(exec.command ?? [], limitMs);
  if (tcpSocket !== undefined) return reaches(tcpSocket.host ?? target.ip, portOf(tcpSocket.port, target), limitMs);
  if (grpc !== undefined) return reaches(target.ip, grpc.port, limitMs);
  if (httpGet === undefined) return true;
  const { scheme = "HTTP", host, path = "/", port, httpHeaders = [] } = httpGet;
  const headers = Object.fromEntries(httpHeaders.map(({ name, value }) => [name, value]));
  const url = `${scheme.toLowerCase()}://${host ?? target.ip}:${portOf(port, target)}${path}`;
  const dispatcher = new Agent({ connect: { rejectUnauthorized: false } });
  try {
    const { statusCode, body } = await request(url, { headers, dispatcher, signal: AbortSignal.timeout(limitMs) });
    await body.dump();
    return statusCode >= 200 && statusCode < 400;
  } catch {
    return false;
  } finally {
    await dispatcher.destroy();
  }
}

function portOf(port: number | string, { container }: ProbeTarget): number {
  return (container.ports ?? []).find(({ name }) => name === port)?.containerPort ?? Number(port);
}

function reaches(host: string, port: number, limitMs: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect({ host, port, timeout: limitMs });
  const end = (isOk: boolean): void => {
    socket.destroy();
    resolve(isOk);
  };
  socket
    .on("connect", () => end(true))
    .on("timeout", () => end(false))
    .on("error", () => end(false));
  return promise;
}
