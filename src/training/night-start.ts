import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Digest } from "../artifact/artifact-store.ts";
import { replaceSynced } from "../artifact/durable-file.ts";
import type { AgentConfig } from "../config.ts";
import { nightshiftError } from "../errors.ts";
import type { Recordings } from "../rollout/recordings.ts";
import { selectScenarios, type Selection } from "../scenario/select.ts";
import type { DrawnWalls } from "../scenario/walls.ts";
import type { TrajectoryRef } from "../trajectory/trajectory-store.ts";
import { adapterArtifact, type RegisteredAdapter } from "./adapters.ts";
import { handOver, plainManifest, START_ADAPTER } from "./hand-over.ts";
import type { NightDeps, NightOptions } from "./night-context.ts";
import { trainerConfig } from "./run-config.ts";

/** A served model: its name and the digest that its answers are recorded with. */
export interface Policy {
  name: string;
  digest: string;
}

interface Pins {
  trajectories: TrajectoryRef[];
  others?: TrajectoryRef[];
  walls?: DrawnWalls;
  trainScenarios: number;
  heldOutScenarios: number;
  funnel: Selection["funnel"];
}

/** The training set of a night is pinned once, by (id, version): what arrives later belongs to tomorrow. Durable step `select`. */
export async function pinRecordings(
  options: NightOptions,
  deps: NightDeps,
  startedAtMs: number,
): Promise<{ recordings: Recordings; trainScenarios: number }> {
  const pins = await deps.runs.step<Pins>(options.runId, "select", async () => {
    const recordings = await deps.recordings({ nowMs: startedAtMs });
    const { night } = options.config;
    const everything = { ...wholeNight(night), heldOutCount: Number.MAX_SAFE_INTEGER, seed: night.seed };
    const { train, heldOut, funnel } = selectScenarios({ ...recordings.selection, ...everything });
    return {
      trajectories: recordings.trajectories.map(({ id, version }) => ({ id, version })),
      others: recordings.others.map(({ id, version }) => ({ id, version })),
      walls: { cutoffMs: recordings.walls.cutoffMs, heldOutClusters: recordings.walls.heldOutClusters },
      trainScenarios: train.length,
      heldOutScenarios: heldOut.length,
      funnel,
    };
  });
  return { recordings: await pinnedRecordings(pins, deps, startedAtMs), trainScenarios: pins.trainScenarios };
}

/** All that a night may choose from: no fixed number, but a user's share is of what the night rolls out. */
export function wholeNight(night: AgentConfig["night"]): { count: number; runSize: number } {
  return { count: Number.MAX_SAFE_INTEGER, runSize: night.iterations * night.scenarios };
}

/** The recordings of a run whose `select` step is done: for its gate, and for whoever looks at it later. */
export async function recordingsOfRun(runId: string, deps: Pick<NightDeps, "runs" | "recordings">): Promise<Recordings | null> {
  const run = await deps.runs.get(runId);
  const select = (await deps.runs.steps(runId)).find(({ step }) => step === "select");
  if (run === null || select?.output == null) return null;
  return pinnedRecordings(select.output as unknown as Pins, deps, run.startedAtMs);
}

function pinnedRecordings(pins: Pins, deps: Pick<NightDeps, "recordings">, nowMs: number): Promise<Recordings> {
  const { trajectories, others, walls } = pins;
  return deps.recordings({
    nowMs,
    pins: { trajectories, ...(others === undefined ? {} : { others }), ...(walls === undefined ? {} : { walls }) },
  });
}

/** Fixes what the night starts from and writes run.json. Durable step `prepare`. */
export function prepareRun(
  options: NightOptions,
  deps: NightDeps,
  runDirectory: string,
): Promise<Policy & { adapterDigest: Digest | null }> {
  return deps.runs.step(options.runId, "prepare", async () => {
    await deps.fleet.reserveSlot?.(options.runId);
    const stable = await deps.fleet.stable();
    await mkdir(runDirectory, { recursive: true });
    const start = stable.adapter === null ? null : await bring(stable.adapter, runDirectory, deps);
    const base = { path: options.config.baseModel, digest: deps.fleet.baseDigest };
    const run = trainerConfig({ runId: options.runId, agent: options.agent, config: options.config, base, start });
    // Replaced whole: a kill after it was written and before the step was noted comes here again.
    await replaceSynced(join(runDirectory, "run.json"), new TextEncoder().encode(`${JSON.stringify(run, null, 2)}\n`));
    return { name: stable.name, digest: stable.digest, adapterDigest: stable.adapter?.digest ?? null };
  });
}

/** The files of the adapter that the night starts from become part of the run directory: a trainer elsewhere has nothing else. */
async function bring(adapter: RegisteredAdapter, runDirectory: string, deps: NightDeps): Promise<{ path: string; digest: string }> {
  const found = await deps.artifacts.checkout(adapterArtifact(adapter.name));
  if (found === null) throw nightshiftError("artifact_missing", { what: `adapter ${adapter.name}` });
  const files = new Map<string, Uint8Array>();
  for (const { path } of adapter.manifest.files) files.set(path, await readFile(join(found.directory, path)));
  await handOver(join(runDirectory, START_ADAPTER), files, plainManifest(files));
  return { path: START_ADAPTER, digest: adapter.digest };
}
