import type { InferenceCall } from "../../trace/call.ts";
import { type ItemReader, prefixHashes } from "./items.ts";
import { byStart } from "./spans.ts";

/** The spans that recorded one call, innermost first. */
export type Recordings = [InferenceCall, ...InferenceCall[]];

/** The gateway's own span of a call. */
export function isGateway(call: InferenceCall): boolean {
  return call.assignment !== null || call.adapterDigest !== null;
}

/**
 * Puts the recordings of one call in separate traces (the gateway's and the SDK's) together, the gateway's first. Their response id and answer are the same, and
 * they were under way at the same time or were asked the same: an id and an answer may come again, from a server that numbers nothing or a client that names
 * its requests.
 */
export function withoutCopies(groups: readonly Recordings[], read: ItemReader): Recordings[] {
  const hash = (messages: InferenceCall["input"]) => prefixHashes(read(messages)).at(-1) ?? "";
  const apart: Recordings[] = [];
  const alike = Map.groupBy(
    groups.toSorted(([a], [b]) => byStart(a, b)),
    (group) => {
      const id = group.find((call) => call.responseId !== null)?.responseId;
      // Answers that were not recorded are not the same answer.
      return id === undefined || group[0].output.length === 0 ? null : `${id}\n${hash(group[0].output)}`;
    },
  );
  for (const [key, found] of alike) {
    if (key === null || found.length === 1) apart.push(...found);
    else apart.push(...joined(found, (group) => hash(group[0].input)));
  }
  return apart;
}

function joined(groups: readonly Recordings[], askedOf: (group: Recordings) => string): Recordings[] {
  const [ofGateway, others] = [createGathering(), createGathering()];
  // Two gateway spans are two requests, whatever their ids say.
  for (const group of groups) if (isGateway(group[0])) ofGateway.add(group, askedOf(group));
  for (const group of groups) {
    if (isGateway(group[0])) continue;
    const asked = askedOf(group);
    const copied = ofGateway.find(group[0], asked) ?? others.find(group[0], asked);
    if (copied === undefined) others.add(group, asked);
    else for (const call of group) copied.recordings.push(call);
  }
  return [...ofGateway.all(), ...others.all()];
}

interface Gathered {
  recordings: Recordings;
  startNs: bigint;
  /** Of whatever was found to be the same call at the same time. */
  endNs: bigint;
}

/** Calls with one response id and answer, added in the order of their starts. */
function createGathering() {
  const everything: Gathered[] = [];
  const byInput = new Map<string, Gathered[]>();
  return {
    all: () => everything.map(({ recordings }) => recordings),
    add(recordings: Recordings, asked: string): void {
      const [{ startNs, endNs }] = recordings;
      const gathered: Gathered = { recordings, startNs, endNs };
      everything.push(gathered);
      // What was not recorded is not the same question.
      if (asked === "") return;
      const same = byInput.get(asked);
      if (same === undefined) byInput.set(asked, [gathered]);
      else same.push(gathered);
    },
    /** Which of them this call is: the one that was asked the same, else the one that was under way then. */
    find(call: InferenceCall, asked: string): Gathered | undefined {
      const same = latestBefore(byInput.get(asked) ?? [], call.endNs);
      if (same !== undefined) return same;
      const beside = latestBefore(everything, call.endNs);
      if (beside === undefined || beside.endNs < call.startNs || beside.startNs > call.endNs) return undefined;
      if (call.endNs > beside.endNs) beside.endNs = call.endNs;
      return beside;
    },
  };
}

/** Of calls in the order of their starts the last that had started by then; the first where none had; undefined for none. */
function latestBefore(calls: readonly Gathered[], atNs: bigint): Gathered | undefined {
  let [low, high] = [0, calls.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((calls[middle]?.startNs ?? 0n) <= atNs) low = middle + 1;
    else high = middle;
  }
  return calls[Math.max(low - 1, 0)];
}
