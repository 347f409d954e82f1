import { readFileSync } from "node:fs";
import { until } from "../../e2e/processes.ts";
import { PartError, runTool } from "../parts/part.ts";
import { startPartProcess, type PartProcess } from "../parts/process.ts";

/**
 * The cluster's addresses. Not loopback: an API server refuses loopback addresses in EndpointSlices. They exist only in the network namespace that the tests
 * run in, which has no way out.
 */
export const NETWORK = {
  nodeIp: "10.77.0.1",
  podPrefix: "10.77",
  bits: 16,
  services: "10.78.0.0/16",
  /** The first address of the range, which the API server gives to its own service. */
  apiServerIp: "10.78.0.1",
  dnsIp: "10.78.0.10",
} as const;

const BRIDGE = "nightshift0";
const FIX = "as root, with iproute2 and util-linux: unshare --net --mount vitest run --config vitest.real.config.ts test/real/kubernetes";

/** Makes the bridge that all pods are on, in the network namespace of this process. Resolves to what takes it away again. @throws PartError */
export async function startBridge(): Promise<() => Promise<void>> {
  const others = interfaces().filter((name) => name !== "lo" && !isOurs(name));
  if (others.length > 0)
    throw new PartError(
      `the pods' network needs a network namespace of its own: this one has ${others.join(", ")} and is left as it is`,
      FIX,
    );
  // What a file of tests that ended badly has left.
  await removeOurs();
  await ip("link", "set", "lo", "up");
  await ip("link", "add", "name", BRIDGE, "type", "bridge");
  await ip("address", "add", `${NETWORK.nodeIp}/${NETWORK.bits}`, "dev", BRIDGE);
  await ip("link", "set", BRIDGE, "up");
  // All of a range is this machine's: whoever listens on one of its addresses is what a service leads to.
  await ip("route", "replace", "local", NETWORK.services, "dev", "lo");
  return async () => {
    await ip("route", "delete", "local", NETWORK.services, "dev", "lo");
    await removeOurs();
  };
}

function ip(...args: string[]): Promise<string> {
  return runTool("ip", args, { problem: "no network for pods", fix: FIX });
}

function isOurs(name: string): boolean {
  return name === BRIDGE || /^pod\d+$/.test(name);
}

/**
 * A pod's network outlives its processes for as long as the kernel still tries to send what a killed one had left in a socket: seconds, and its cable stays on the
 * node with it. A cable that is deleted at one end is gone at both.
 */
async function removeOurs(): Promise<void> {
  await until("the network of earlier pods is gone", 20_000, async () => {
    const left = interfaces().filter(isOurs);
    // It may go by itself in between.
    for (const name of left) await ip("link", "delete", name).catch(() => {});
    return left.length === 0 ? true : null;
  });
}

/** Of this process' network namespace. */
function interfaces(): string[] {
  return [...readFileSync("/proc/self/net/dev", "utf8").matchAll(/^\s*([^\s:]+):/gm)].map(([, name = ""]) => name);
}

/** Runs in the pod's new namespaces: $1 its name, $2 its end of the cable on the node, $3 a process on the node, $4 its address. */
const SANDBOX = `
hostname "$1" && ip link set lo up &&
ip link add eth0 type veth peer name "$2" netns "$3" &&
nsenter --net=/proc/"$3"/ns/net ip link set "$2" master ${BRIDGE} up &&
ip address add "$4"/${NETWORK.bits} dev eth0 && ip link set eth0 up && ip route add default via ${NETWORK.nodeIp} &&
echo sandbox ready && exec sleep infinity
`;

/** What a pod's containers share: its network and its name. */
export interface Sandbox {
  readonly ip: string;
  /** Arguments of nsenter that lead into it. */
  readonly enter: readonly string[];
  close(): Promise<void>;
}

/** @param index Which pod it is, from 1 on: what its address ends with. */
export async function startSandbox(hostname: string, index: number): Promise<Sandbox> {
  // The first two hundred and fifty-five addresses are the node's.
  const ip = `${NETWORK.podPrefix}.${1 + Math.floor(index / 250)}.${1 + (index % 250)}`;
  const args = ["--net", "--uts", "sh", "-c", SANDBOX, "sandbox", hostname.slice(0, 63), `pod${index}`, String(process.pid), ip];
  const holder: PartProcess = await startPartProcess("unshare", args, { readyLine: /sandbox ready/, limitMs: 20_000 });
  const namespaces = `/proc/${holder.pid}/ns`;
  return { ip, enter: [`--net=${namespaces}/net`, `--uts=${namespaces}/uts`], close: () => holder.kill() };
}
