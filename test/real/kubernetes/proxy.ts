import { once } from "node:events";
import { Worker } from "node:worker_threads";
import type { KubeApiOptions } from "./api.ts";
import type { Address } from "./forward.ts";
import type { ProxyOrder } from "./proxy-worker.ts";

/** Services, DNS and forwards in a thread of their own: what a test does with its processor does not hold up the traffic of pods. */
export interface Proxy {
  lead(from: Address, to: Address): Promise<void>;
  close(): Promise<void>;
}

export async function startProxy(access: KubeApiOptions): Promise<Proxy> {
  const worker = new Worker(new URL("proxy-worker.ts", import.meta.url), { workerData: access });
  const ended = once(worker, "exit");
  /** What goes wrong in the thread rejects, as `once` does of an error. */
  const answer = (): Promise<unknown> => once(worker, "message");
  const send = (order: ProxyOrder): void => worker.postMessage(order);
  await answer();
  return {
    async lead(from, to) {
      const isDone = answer();
      send({ kind: "lead", from, to });
      await isDone;
    },
    async close() {
      send({ kind: "end" });
      await ended;
    },
  };
}
