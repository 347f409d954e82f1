import { discoveredNow } from "../../app/replicas.ts";
import type { Discovery } from "../../config-policy-servers.ts";
import { NightshiftError } from "../../errors.ts";
import type { ReplicaAddress, ToldReplicas } from "../../serving/replica-source.ts";
import type { ApiClient } from "../client.ts";
import { bad, ok, warn, type Finding } from "./finding.ts";

/** Replicas of one agent, and whose word that is; `reason` where there are none that may be one. */
interface Found {
  by: string;
  replicas: readonly ReplicaAddress[];
  reason: string | null;
}

/**
 * Which replicas there are behind an agent's Service. The running control service is asked first, because what it sees is what gateways call and a kubeconfig may lead
 * anywhere; where it says nothing, the cluster that this process is in or is led to.
 * @param control null: none answers
 */
export async function checkDiscovery(
  agent: string,
  discovery: Discovery,
  control: ApiClient | null,
): Promise<{ replicas: readonly ReplicaAddress[]; findings: Finding[] }> {
  const check = `${agent}: replicas of service ${discovery.service}`;
  const told = await toldBy(agent, control);
  const found = isFound(told) ? told : await foundIn(discovery);
  if (isFound(found)) return { replicas: found.replicas, findings: [judge(check, found), ...blindness(check, told)] };
  // From elsewhere than the cluster that says nothing of the replicas.
  const isElsewhere = found.code === "cluster_unknown";
  const unseen = isElsewhere
    ? warn(check, `not looked at: ${found.message}`, "Run doctor in a pod of serve, or with --url of the running Nightshift.")
    : bad(check, found.message, found.fix);
  return { replicas: [], findings: [unseen, ...blindness(check, told)] };
}

async function toldBy(agent: string, control: ApiClient | null): Promise<Found | NightshiftError | null> {
  if (control === null) return null;
  try {
    const { replicas } = await control.get<ToldReplicas>("/v1/upstreams", { agent });
    return { by: "the control service", replicas, reason: null };
  } catch (error) {
    if (error instanceof NightshiftError) return error;
    throw error;
  }
}

async function foundIn(discovery: Discovery): Promise<Found | NightshiftError> {
  try {
    const { namespace, slices, replicas } = await discoveredNow(discovery);
    const named = typeof discovery.port === "number" ? "" : `, or none has a port ${discovery.port}`;
    const reason = slices === 0 ? `namespace ${namespace} has no such Service` : `its selector fits no pod${named}`;
    return { by: "the cluster", replicas, reason };
  } catch (error) {
    if (error instanceof NightshiftError) return error;
    throw error;
  }
}

function isFound(found: Found | NightshiftError | null): found is Found {
  return found !== null && !(found instanceof NightshiftError);
}

function judge(check: string, { by, replicas, reason }: Found): Finding {
  if (replicas.length === 0) {
    const why = reason === null ? "" : `: ${reason}`;
    return bad(
      check,
      `${by} finds none${why}; calls have nowhere to go but the Service's own address`,
      "kubectl get endpointslices -l kubernetes.io/service-name=SERVICE; correct policyServers.discover, or start the pods and let the Service's selector fit them.",
    );
  }
  const waiting = replicas.filter(({ isReady }) => !isReady).map(({ name }) => name);
  const told = `${by} finds ${replicas.map(({ name }) => name).join(", ")}`;
  if (waiting.length === 0) return ok(check, told);
  const fix = "kubectl describe pod: its readiness is that its adapters are proven; the adapter agent's log says what it lacks.";
  return warn(check, `${told}; not ready, so without calls: ${waiting.join(", ")}`, fix);
}

/** A control service that runs and does not see what there is. */
function blindness(check: string, told: Found | NightshiftError | null): Finding[] {
  if (!(told instanceof NightshiftError)) return [];
  return [bad(`${check}: control service`, told.message, told.fix)];
}
