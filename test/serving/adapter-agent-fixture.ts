import { nightshiftError } from "../../src/errors.ts";
import { silentLog } from "../../src/log.ts";
import { createAdapterAgent } from "../../src/serving/adapter-agent.ts";
import { PROVING, type DirectoryCheck } from "../../src/serving/adapter-bring-up.ts";
import type { AdapterReport } from "../../src/serving/adapter-report.ts";
import type { ProofResult } from "../../src/serving/attest.ts";
import type { AdapterLoadResult, PolicyServer } from "../../src/serving/policy-server.ts";

export const A = { name: "shop-1-aaaaaaaaaaaa", digest: "sha256:aaaaaaaaaaaa" };
export const B = { name: "shop-2-bbbbbbbbbbbb", digest: "sha256:bbbbbbbbbbbb" };
export const FIGURES = { probeTokens: 300, slope: 1.01, t: 40, baseGap: 0.001 };
export const ERROR = nightshiftError("policy_server_unavailable", { url: "http://x", problem: "busy" });

/** A replica whose process can restart: what it serves lives in memory, like vLLM's registry. */
function createReplica() {
  const log: string[] = [];
  const state: { process: string; loadResult: AdapterLoadResult } = { process: "boot-1", loadResult: { status: "loaded" } };
  let served = new Set<string>(["base", "operators-own"]);
  let isDown = false;
  const server: PolicyServer = {
    chat: () => Promise.reject(new Error("not used")),
    promptLogprobs: () => Promise.reject(new Error("not used")),
    models: () => Promise.resolve(isDown ? null : [...served].map((id) => ({ id, root: id, parent: id === "base" ? null : "base" }))),
    loadAdapter({ name }) {
      log.push(`load ${name}`);
      if (served.has(name)) return Promise.resolve({ status: "already_loaded" });
      if (state.loadResult.status === "loaded") served.add(name);
      return Promise.resolve(state.loadResult);
    },
    unloadAdapter(name) {
      log.push(`unload ${name}`);
      served.delete(name);
      return Promise.resolve();
    },
  };
  return Object.assign(state, {
    log,
    server,
    served: () => [...served].filter((name) => name !== "base" && name !== "operators-own"),
    restart() {
      served = new Set(["base", "operators-own"]);
      state.process = `boot-${Number(state.process.slice(5)) + 1}`;
    },
    goDown(down: boolean) {
      isDown = down;
    },
  });
}

export function createFixture(agents?: readonly string[]) {
  const replica = createReplica();
  const reports: AdapterReport[] = [];
  const fixture = {
    replica,
    reports,
    nowMs: 0,
    checks: new Map<string, DirectoryCheck>(),
    proofs: new Map<string, ProofResult>(),
    isStored: true,
    isControlUp: true,
    said: () =>
      reports.map(
        (report) => `${report.status} ${report.name} ${report.instance}${report.status === "refused" ? ` ${report.reason}` : ""}`,
      ),
  };
  const agent = createAdapterAgent(
    { replica: "replica-1", intervalMs: 60_000, retryMs: 1_000, ...(agents === undefined ? {} : { agents }) },
    {
      policyServer: replica.server,
      fetchAdapter: (adapter) => Promise.resolve(fixture.isStored ? { directory: `/adapters/${adapter.name}` } : null),
      verify(directory) {
        const name = directory.slice("/adapters/".length);
        const digest = name === A.name ? A.digest : B.digest;
        return Promise.resolve(fixture.checks.get(name) ?? { status: "valid", name, digest });
      },
      prove(adapter) {
        replica.log.push(`prove ${adapter.name}`);
        return Promise.resolve(fixture.proofs.get(adapter.name.replace(PROVING, "")) ?? { status: "active", figures: FIGURES });
      },
      instance: () => Promise.resolve(replica.process),
      publish(report) {
        if (!fixture.isControlUp) return Promise.reject(new Error("control plane down"));
        reports.push(report);
        return Promise.resolve();
      },
      now: () => 1_000,
      monotonicMs: () => fixture.nowMs,
      log: silentLog(),
    },
  );
  return { ...fixture, fixture, agent };
}

/** What the server hears of an adapter that is brought up: nobody can call it before it is proven. */
export const broughtUp = (name: string): string[] => [
  `load ${name}${PROVING}`,
  `prove ${name}${PROVING}`,
  `load ${name}`,
  `unload ${name}${PROVING}`,
];
