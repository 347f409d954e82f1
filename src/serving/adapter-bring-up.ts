import type { NightshiftError } from "../errors.ts";
import type { ProofFigures, ProofResult } from "./attest.ts";
import type { PolicyServer } from "./policy-server.ts";

/** An adapter that a replica should serve: its immutable name and the digest of its manifest. */
export interface DesiredAdapter {
  name: string;
  digest: string;
}

/** What a check of an adapter's files found; `verifyAdapterDirectory` answers in this form. */
export type DirectoryCheck = { status: "valid"; digest: string; name: string } | { status: "invalid"; reason: string; detail: string };

export interface BringUpDeps {
  policyServer: PolicyServer;
  /** A local directory with the adapter's files, where the policy server can read it; null when there is none of this digest yet. */
  fetchAdapter(adapter: DesiredAdapter, options: { signal?: AbortSignal }): Promise<{ directory: string } | null>;
  /** Checks the files: signature, digests, base, rank. */
  verify(directory: string): Promise<DirectoryCheck>;
  /** The activation proof on this replica, with a fresh cache salt. */
  prove(adapter: DesiredAdapter & { directory: string }, options: { signal?: AbortSignal }): Promise<ProofResult>;
}

export type BringUpResult =
  | { status: "active"; figures: ProofFigures }
  /** The adapter itself is at fault: the same server will never serve it. */
  | { status: "refused"; reason: string; detail: string }
  /** Nothing is known to be wrong with it; worth another try. */
  | { status: "retry"; problem: string };

/** After the adapter's name while it is proven. */
export const PROVING = ".proving";

/**
 * Fetch, verify, load, prove, and only then load under its own name. Safe to repeat at any point; leaves nothing loaded that was refused.
 * Rejects only when `signal` aborts.
 */
export async function bringUp(
  adapter: DesiredAdapter,
  isLoaded: boolean,
  deps: BringUpDeps,
  options: { signal?: AbortSignal },
): Promise<BringUpResult> {
  const fetched = await deps.fetchAdapter(adapter, options);
  if (fetched === null) return { status: "retry", problem: "not in the artifact store" };
  const check = await deps.verify(fetched.directory);
  if (check.status === "invalid") return refuse(adapter, isLoaded, check, deps, options);
  if (check.digest !== adapter.digest || check.name !== adapter.name) {
    const detail = `the files are ${check.name} (${check.digest}), wanted is ${adapter.name} (${adapter.digest})`;
    return refuse(adapter, isLoaded, { reason: "another_adapter", detail }, deps, options);
  }
  // Nobody calls it under the name that it is proven under: an adapter that is not what it should be never answers.
  const proven = isLoaded ? adapter.name : `${adapter.name}${PROVING}`;
  const loaded = isLoaded ? null : await deps.policyServer.loadAdapter({ name: proven, path: fetched.directory }, options);
  if (loaded?.status === "retryable") return { status: "retry", problem: loaded.error.message };
  if (loaded?.status === "rejected") return refusedBy("load_rejected", loaded.error);
  const proof = await deps.prove({ ...adapter, name: proven, directory: fetched.directory }, options);
  if (proof.status === "refused") {
    await deps.policyServer.unloadAdapter(proven, options);
    return { status: "refused", reason: proof.reason, detail: figuresText(proof.figures) };
  }
  // Busy, or it does not know the adapter any more: it restarted since it was loaded.
  if (proof.status !== "active") return { status: "retry", problem: proof.error.message };
  return isLoaded ? { status: "active", figures: proof.figures } : activate(adapter, fetched.directory, proof.figures, deps, options);
}

/** The same files in the same process, under the name that routes know. */
async function activate(
  adapter: DesiredAdapter,
  path: string,
  figures: ProofFigures,
  { policyServer }: BringUpDeps,
  options: { signal?: AbortSignal },
): Promise<BringUpResult> {
  // "already_loaded" is as good: names are immutable.
  const loaded = await policyServer.loadAdapter({ name: adapter.name, path }, options);
  if (loaded.status === "retryable") return { status: "retry", problem: loaded.error.message };
  if (loaded.status === "rejected") return refusedBy("load_rejected", loaded.error);
  await policyServer.unloadAdapter(`${adapter.name}${PROVING}`, options);
  return { status: "active", figures };
}

async function refuse(
  adapter: DesiredAdapter,
  isLoaded: boolean,
  { reason, detail }: { reason: string; detail: string },
  deps: BringUpDeps,
  options: { signal?: AbortSignal },
): Promise<BringUpResult> {
  if (isLoaded) await deps.policyServer.unloadAdapter(adapter.name, options);
  return { status: "refused", reason, detail };
}

function refusedBy(reason: string, error: NightshiftError): BringUpResult {
  return { status: "refused", reason, detail: error.message };
}

function figuresText({ probeTokens, slope, t, baseGap }: ProofFigures): string {
  return `slope ${slope.toFixed(3)}, t ${t.toFixed(1)}, base gap ${baseGap.toFixed(4)} over ${probeTokens} probe tokens`;
}
