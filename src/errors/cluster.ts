import type { Row } from "./row.ts";

/** What goes wrong between Nightshift and a Kubernetes API. */
export const CLUSTER = {
  cluster_unavailable: {
    message: (a: { what: string; problem: string }) => `the Kubernetes API did not answer for ${a.what}: ${a.problem}`,
    fix: "Nothing of what runs depends on it: it is asked again. Check that this process reaches the API server (KUBECONFIG, or the pod's service account and network policy).",
    retryable: true,
  },
  cluster_refused: {
    message: (a: { what: string; status: number; problem: string }) =>
      `the Kubernetes API answered ${a.status} for ${a.what}: ${a.problem}`,
    fix: "403: give this process's service account the right that is named (the chart's Role has it). 404: create what is named, or correct its name in the config.",
    retryable: false,
  },
  cluster_unknown: {
    message: (a: { problem: string }) => `there is no Kubernetes API to talk to: ${a.problem}`,
    fix: "Run it in a pod with a service account, or set KUBECONFIG; or name policyServers and the gateway's router without Kubernetes.",
    retryable: false,
  },
  fleet_unknown: {
    message: (a: { agent: string }) => `the replicas of ${a.agent} have not been found in Kubernetes yet`,
    fix: "Wait until the API server answers; gateways go on with the replicas that they know.",
    retryable: true,
  },
  route_object_missing: {
    message: (a: { what: string }) => `there is no ${a.what}`,
    fix: "Create it with its parentRefs and without spec.rules, which Nightshift writes; docs/fleets.md says more.",
    retryable: false,
  },
  route_object_foreign: {
    message: (a: { what: string; manager: string }) =>
      `${a.what}: spec.rules is ${a.manager}'s, Nightshift does not write what another manages`,
    fix: "Take spec.rules out of what applies that object, or name an object of its own in agents.<slug>.router.",
    retryable: false,
  },
} as const satisfies Record<string, Row>;
