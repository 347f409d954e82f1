import type { Manifest, Pod } from "./objects.ts";

/** Who may reach whom by NetworkPolicies, as the API reference says: a pod that a policy selects takes only what some policy allows; policies add up. */
interface Selector {
  matchLabels?: Record<string, string>;
  matchExpressions?: { key: string; operator: string; values?: string[] }[];
}

interface Peer {
  podSelector?: Selector;
  namespaceSelector?: Selector;
  ipBlock?: { cidr: string };
}

interface PolicyRule {
  ports?: { port: number | string; protocol?: string }[];
  from?: Peer[];
  to?: Peer[];
}

interface PolicySpec {
  podSelector: Selector;
  policyTypes: string[];
  ingress?: PolicyRule[];
  egress?: PolicyRule[];
}

/** A pod as policies see it: by labels of its own and of its namespace. */
export interface Place {
  labels: Record<string, string>;
  /** Of another namespace than the policies'; unset: theirs. */
  namespace?: string;
}

export function placeOf({ labels }: Pick<Pod, "labels">): Place {
  return { labels };
}

function matches({ matchLabels = {}, matchExpressions = [] }: Selector, labels: Record<string, string>): boolean {
  const isEqual = Object.entries(matchLabels).every(([key, value]) => labels[key] === value);
  return (
    isEqual &&
    matchExpressions.every(({ key, operator, values = [] }) => {
      if (operator === "Exists") return key in labels;
      if (operator === "In") return values.includes(labels[key] ?? "");
      throw new Error(`the operator ${operator} is not read here`);
    })
  );
}

function isPeer(peer: Peer, { labels, namespace }: Place): boolean {
  if (peer.ipBlock !== undefined) return false;
  const isThere =
    peer.namespaceSelector === undefined
      ? namespace === undefined
      : matches(peer.namespaceSelector, { "kubernetes.io/metadata.name": namespace ?? "nightshift" });
  return isThere && (peer.podSelector === undefined || matches(peer.podSelector, labels));
}

function allows(rule: PolicyRule, peers: Peer[] | undefined, other: Place, port: number): boolean {
  const isPort = rule.ports === undefined || rule.ports.some((one) => one.port === port && one.protocol !== "UDP");
  return isPort && (peers === undefined || peers.some((peer) => isPeer(peer, other)));
}

function policiesOn(manifests: readonly Manifest[], place: Place, type: string): PolicySpec[] {
  if (place.namespace !== undefined) return [];
  return manifests
    .filter(({ kind }) => kind === "NetworkPolicy")
    .map(({ spec }) => spec as unknown as PolicySpec)
    .filter(({ podSelector, policyTypes }) => policyTypes.includes(type) && matches(podSelector, place.labels));
}

export function mayCall(manifests: readonly Manifest[], from: Place, to: Place, port: number): boolean {
  const leaving = policiesOn(manifests, from, "Egress");
  const arriving = policiesOn(manifests, to, "Ingress");
  const mayLeave = leaving.length === 0 || leaving.some(({ egress = [] }) => egress.some((rule) => allows(rule, rule.to, to, port)));
  return (
    mayLeave && (arriving.length === 0 || arriving.some(({ ingress = [] }) => ingress.some((rule) => allows(rule, rule.from, from, port))))
  );
}

/** Whether anything at all bounds what the pod may call, and be called by. */
export function isBounded(manifests: readonly Manifest[], place: Place): { ingress: boolean; egress: boolean } {
  return {
    ingress: policiesOn(manifests, place, "Ingress").length > 0,
    egress: policiesOn(manifests, place, "Egress").length > 0,
  };
}
