import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { V1Pod } from "@kubernetes/client-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import type { S3Config } from "../../../src/config-artifacts.ts";
import { silentLog } from "../../../src/log.ts";
import type { JobRunner } from "../../../src/training/job-runner.ts";
import { createMirroredJobRunner } from "../../../src/training/mirrored-job-runner.ts";
import { digestsPath } from "../../../src/training/run-files.ts";
import { createRunMirror } from "../../../src/training/run-mirror.ts";
import { awaitAdapter, readTrainerStatus } from "../../../src/training/trainer-output.ts";
import { until } from "../../e2e/processes.ts";
import { ROOT_KEY, startS3, type S3Server } from "../parts/s3.ts";
import { BUCKET, openBucket, s3Config } from "../s3/world.ts";
import { productImages } from "./images.ts";
import { mostTrainersOfOneRun, NAMESPACE, startTrainers, type Trainers } from "./trainers.ts";

const LIMIT_MS = 180_000;
const ROOT = resolve(import.meta.dirname, "../../..");
const SECRETS = "/run/secrets/nightshift";
const KEY_FILES = { "s3-access-key-id": ROOT_KEY.accessKeyId, "s3-secret-access-key": ROOT_KEY.secretAccessKey };

let s3: S3Server;
let trainers: Trainers;
let config: S3Config;
let runner: JobRunner;
const home = mkdtempSync(join(tmpdir(), "nightshift-sync-"));
beforeAll(async () => {
  s3 = await startS3([BUCKET]);
  trainers = await startTrainers(productImages());
  config = s3Config(s3.url, { timeoutMs: 5_000 });
  const { cluster } = trainers;
  const endpoint = `http://${await cluster.expose(Number(new URL(s3.url).port))}`;
  const [accessKeyIdFile, secretAccessKeyFile] = Object.keys(KEY_FILES).map((file) => `${SECRETS}/${file}`);
  const theirs = stringify({ artifacts: { ...config, endpoint, accessKeyIdFile, secretAccessKeyFile } });
  const named = (name: string): object => ({ metadata: { name, namespace: NAMESPACE } });
  await cluster.apply(
    { apiVersion: "v1", kind: "ConfigMap", ...named("night-config"), data: { "nightshift.yaml": theirs } },
    { apiVersion: "v1", kind: "Secret", ...named("night-secrets"), stringData: { ...KEY_FILES, "postgres-url": "not the trainer's" } },
  );
  const items = Object.keys(KEY_FILES).map((key) => ({ key, path: key }));
  const jobs = await trainers.runner({
    image: "registry.test/nightshift-trainer:1",
    runDirectory: {
      kind: "sync",
      image: "registry.test/nightshift:1",
      configMap: "night-config",
      secrets: [{ name: "night-secrets", items }],
      resources: { requests: { cpu: "10m" }, limits: { memory: "1Gi" } },
    },
    backoffLimit: 0,
    terminationGracePeriodSeconds: 60,
  });
  const objects = openBucket(config);
  const openMirror = (run: { runId: string; runDirectory: string }) =>
    createRunMirror({ ...run, side: "control", intervalMs: 200 }, { objects, log: silentLog() });
  runner = createMirroredJobRunner(jobs, { openMirror, log: silentLog() });
});
afterAll(async () => {
  await runner?.close();
  await trainers?.close();
  await s3?.close();
  rmSync(home, { recursive: true, force: true });
});

/** The trainer's example as the control service leaves it: of two iterations batch-2 is still to come. */
function exampleRun(runId: string, { below, iterations }: { below: string; iterations: number }): string {
  const runDirectory = join(below, runId);
  mkdirSync(runDirectory, { recursive: true });
  cpSync(join(ROOT, "trainer/example/batch-1"), join(runDirectory, "batch-1"), { recursive: true });
  const run = JSON.parse(readFileSync(join(ROOT, "trainer/example/run.json"), "utf8")) as { base_model: object };
  const base = { ...run.base_model, path: join(ROOT, "deploy/quickstart/model") };
  writeFileSync(
    join(runDirectory, "run.json"),
    JSON.stringify({
      ...run,
      run_id: runId,
      base_model: base,
      iterations,
      // Batch 2 will be batch 1 again, which the run's policy has moved on from.
      logprob_gate: { max_mean_abs_delta: 1 },
      heartbeat_interval_s: 0.5,
      batch_deadline_s: 600,
    }),
  );
  return runDirectory;
}

test(
  "the real trainer in a pod of its own directory: what it learns comes back, and an evicted one goes on in another pod",
  { timeout: 4 * LIMIT_MS },
  async () => {
    const runId = randomUUID();
    const runDirectory = exampleRun(runId, { below: home, iterations: 2 });
    const job = { runId, agent: "support", runDirectory };
    await runner.start(job);
    const options = { ...job, heartbeatTimeoutMs: LIMIT_MS, signal: new AbortController().signal };
    const deps = { jobRunner: runner, log: silentLog(), monotonicMs: () => performance.now() };
    expect(await awaitAdapter({ ...options, iteration: 1 }, deps)).toBe(join(runDirectory, "adapter-1"));
    const waiting = () =>
      until("it waits for batch 2", LIMIT_MS, async () => {
        const status = await readTrainerStatus(runDirectory);
        return status?.phase === "waiting" && status.iteration === 2 ? status : null;
      });
    expect(await waiting()).toMatchObject({ resumed_from: null, step: 2 });

    const [first] = await trainers.pods(runId);
    await trainers.cluster.evict(NAMESPACE, first?.metadata.name ?? "");
    await until("another pod resumed", LIMIT_MS, async () => (await waiting())["resumed_from"] === 2 || null);
    expect(await runner.status(runId)).toEqual({ status: "running" });

    cpSync(join(runDirectory, "batch-1"), join(runDirectory, "batch-2"), { recursive: true });
    const manifest = join(runDirectory, "batch-2/manifest.json");
    writeFileSync(manifest, readFileSync(manifest, "utf8").replace('"iteration":1', '"iteration":2'));
    await awaitAdapter({ ...options, iteration: 2 }, deps);
    const finished = await until("its Job is over", LIMIT_MS, async () => {
      const status = await runner.status(runId);
      return status.status === "finished" || status.status === "failed" ? status : null;
    });
    expect(finished).toEqual({ status: "finished" });
    expect(await readTrainerStatus(runDirectory)).toMatchObject({ phase: "ended", outcome: { status: "completed" } });
    expect(mostTrainersOfOneRun(trainers.cluster.audit())).toBe(1);
  },
);

test(
  "a volume that is full: the trainer ends and says so, and its Job's next pod trains once there is room",
  { timeout: 2 * LIMIT_MS },
  async () => {
    const { cluster } = trainers;
    const claim = { accessModes: ["ReadWriteMany"], storageClassName: "limited", resources: { requests: { storage: "32Mi" } } };
    const path = `/api/v1/namespaces/${NAMESPACE}/persistentvolumeclaims/small`;
    await cluster.apply({
      apiVersion: "v1",
      kind: "PersistentVolumeClaim",
      metadata: { name: "small", namespace: NAMESPACE },
      spec: claim,
    });
    await until("the claim is bound", 30_000, async () =>
      (await cluster.api.get<{ status?: { phase?: string } }>(path)).status?.phase === "Bound" ? true : null,
    );
    const volume = cluster.volumes.directoryOf(NAMESPACE, "small");
    const runId = randomUUID();
    const runDirectory = exampleRun(runId, { below: join(volume, "runs"), iterations: 1 });
    mkdirSync(join(volume, "runs", digestsPath("support")), { recursive: true });
    execFileSync("chown", ["-R", "2000:2000", volume]);
    const { bavail, bsize } = statfsSync(volume);
    const ballast = join(volume, "ballast");
    // Enough for what is said of the run, and not for an adapter.
    writeFileSync(ballast, Buffer.alloc(bavail * bsize - 64 * 1_024));

    const image = "registry.test/nightshift-trainer:1";
    const full = await trainers.runner({ image, runDirectory: { kind: "claim", claimName: "small" }, backoffLimit: 1 });
    const job = { runId, agent: "support", runDirectory };
    await full.start(job);
    const ended = await until("its first pod has ended", LIMIT_MS, async () => {
      const pods: V1Pod[] = await trainers.pods(runId);
      const containers = pods.flatMap(({ status }) => status?.containerStatuses ?? []);
      return containers.find(({ name, state }) => name === "trainer" && state?.terminated !== undefined)?.state?.terminated ?? null;
    });
    expect(ended).toMatchObject({ exitCode: 75, message: expect.stringContaining("No space left on device") as unknown });
    expect((await full.status(runId)).status).not.toBe("failed");
    rmSync(ballast);
    const options = { ...job, iteration: 1, heartbeatTimeoutMs: LIMIT_MS, signal: new AbortController().signal };
    expect(await awaitAdapter(options, { jobRunner: full, log: silentLog(), monotonicMs: () => performance.now() })).toBe(
      join(runDirectory, "adapter-1"),
    );
    await until("its Job is over", LIMIT_MS, async () => ((await full.status(runId)).status === "finished" ? true : null));
    expect(mostTrainersOfOneRun(cluster.audit())).toBe(1);
    await full.close();
  },
);
