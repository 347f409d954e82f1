import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { V1PodList } from "@kubernetes/client-node";
import { expect } from "vitest";
import type { ControlView } from "../../../src/api/views.ts";
import { silentLog } from "../../../src/log.ts";
import { createGatewayRouter } from "../../../src/promotion/gateway-router.ts";
import type { Routes } from "../../../src/serving/routes.ts";
import type { CanaryRelease } from "./canary-release.ts";
import { NAMESPACE, REWRITE, ROUTE } from "./canary-values.ts";

/** What an operator, an agent and an auditor see of a canary release. */
export interface CanaryLooks {
  /** By the database. @throws when the agent has none */
  routesOf(agent: string): Promise<Routes>;
  /** By the audit log, what happened to an experiment, in order. */
  movesOf(experimentId: string): Promise<string[]>;
  /** What this replica of `serve` says of itself and of who leads. */
  controlOf(pod: string): Promise<ControlView>;
  /** As an operator tells this replica of `serve`. */
  act(pod: string, experimentId: string, action: string): Promise<unknown>;
  /** Which messages this replica of `serve` has logged since. */
  saidSince(pod: string, fromMs: number): string[];
  /** Models that the InferenceModelRewrite of `rewritten` leads to. */
  targets(): Promise<string[]>;
  /** Models that the HTTPRoute of `routed` leads to. */
  backends(): Promise<string[]>;
  /** Models that forty new conversations of `gated` are answered by; all of them are answered. @param name Differs from look to look. */
  answering(name: string): Promise<Set<string>>;
  /** Uids of the pods of a component, by name. */
  podsOf(component: string): Promise<Record<string, string>>;
  /** Uids of what Nightshift uses in the namespace and the chart has not made, by kind and name. */
  others(): Promise<string[]>;
}

/** Of kinds that Nightshift or people make objects of. */
const OTHERS = "persistentvolumeclaims,secrets,leases,jobs,httproutes,inferencemodelrewrites";

export function looksAt(release: CanaryRelease): CanaryLooks {
  const { cluster, database } = release;
  const ask = async (pod: string, path: string, body?: object): Promise<unknown> => {
    const { status } = await release.pod(pod);
    const answer = await fetch(`http://${status?.podIP}:4400${path}`, {
      headers: { authorization: `Bearer ${release.operatorToken}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }),
    });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  };
  return {
    async routesOf(agent) {
      const routes = await createGatewayRouter({ database, log: silentLog() }).routes(agent);
      if (routes === null) throw new Error(`${agent} has no routes`);
      return routes;
    },
    async movesOf(experimentId) {
      const moves = database.kysely.selectFrom("audit").select("action").where("subject", "=", experimentId);
      const rows = await moves.where("action", "like", "experiment_%").orderBy("id").execute();
      return rows.map(({ action }) => action.replace("experiment_", ""));
    },
    controlOf: async (pod) => ((await ask(pod, "/v1/status")) as { control: ControlView }).control,
    act: (pod, experimentId, action) => ask(pod, `/v1/experiments/${experimentId}/actions`, { action, actor: "kim" }),
    saidSince(pod, fromMs) {
      const lines = readFileSync(join(cluster.logs, `${NAMESPACE}_${pod}_serve.log`), "utf8")
        .split("\n")
        .slice(0, -1);
      const entries = lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as { time: string; msg: string });
      return entries.filter(({ time }) => Date.parse(time) >= fromMs).map(({ msg }) => msg);
    },
    async targets() {
      const { spec } = await cluster.api.get<{ spec: { rules: { targets: { modelRewrite: string }[] }[] } }>(REWRITE);
      return spec.rules.flatMap((rule) => rule.targets.map(({ modelRewrite }) => modelRewrite));
    },
    async backends() {
      interface Filter {
        requestHeaderModifier?: { set?: { value: string }[] };
      }
      const { spec } = await cluster.api.get<{ spec: { rules?: { backendRefs: { filters: Filter[] }[] }[] } }>(ROUTE);
      const filters = (spec.rules ?? []).flatMap((rule) => rule.backendRefs.flatMap((backend) => backend.filters));
      return filters.flatMap(({ requestHeaderModifier }) => requestHeaderModifier?.set?.map(({ value }) => value) ?? []);
    },
    answering: (name) => answering(name, release),
    async podsOf(component) {
      const label = encodeURIComponent(`app.kubernetes.io/component=${component}`);
      const { items } = await cluster.api.get<V1PodList>(`/api/v1/namespaces/${NAMESPACE}/pods?labelSelector=${label}`);
      return Object.fromEntries(items.map(({ metadata }) => [metadata?.name ?? "", metadata?.uid ?? ""]));
    },
    async others() {
      const columns = "custom-columns=KIND:.kind,NAME:.metadata.name,UID:.metadata.uid";
      const told = await cluster.kubectl(["get", OTHERS, "--namespace", NAMESPACE, "--output", columns, "--no-headers"]);
      // Helm keeps its own record in Secrets, one for each revision.
      return told.split("\n").filter((line) => line !== "" && !line.includes("sh.helm.release"));
    },
  };
}

async function answering(name: string, { gateway, policyServer }: CanaryRelease): Promise<Set<string>> {
  const from = policyServer.seen.length;
  for (let index = 0; index < 40; index += 1) {
    const response = await fetch(`${gateway.ready.gateway}/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-session-id": `${name}-${from}-${index}` },
      body: JSON.stringify({ model: "gated", messages: [{ role: "user", content: "hello" }] }),
    });
    expect(response.status).toBe(200);
    await response.arrayBuffer();
  }
  const calls = policyServer.seen.slice(from).filter(({ method }) => method === "POST");
  return new Set(calls.map(({ body }) => String(body["model"])));
}
