import { once } from "node:events";
import { parentPort, workerData } from "node:worker_threads";
import { createKubeApi, type KubeApiOptions } from "./api.ts";
import { startForward, type Address, type Forward } from "./forward.ts";
import { startServices } from "./services.ts";

/** What a thread that stands for the node's proxy and the cluster's DNS is told: another port to lead on, or to end. */
export type ProxyOrder = { kind: "lead"; from: Address; to: Address } | { kind: "end" };

if (parentPort === null) throw new Error("proxy-worker.ts is for a thread of cluster.ts");
const port = parentPort;
const api = createKubeApi(workerData as KubeApiOptions);
const services = await startServices(api);
const forwards: Forward[] = [];
port.postMessage("ready");
for (let isOver = false; !isOver;) {
  const [order] = (await once(port, "message")) as [ProxyOrder];
  if (order.kind === "lead") forwards.push(await startForward(order.from, () => order.to));
  else isOver = true;
  if (order.kind === "lead") port.postMessage("ready");
}
for (const forward of forwards) await forward.close();
await services.close();
await api.close();
port.close();
