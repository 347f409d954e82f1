import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { V1Job } from "@kubernetes/client-node";
import { makeCertificate } from "../parts/certificate.ts";
import type { ControlPlane } from "./control-plane.ts";

/**
 * Does to Jobs what Kueue does to them, at a test's word: Kueue itself is in no registry here. After its release 0.19: its webhook suspends a Job that names a queue when it is
 * created; a Workload with the Job's uid as a label says why it waits; admitting it lifts the suspension; preempting it suspends it again and takes its start time away.
 */
export interface Queue {
  /** The Job waits for quota, for this reason. */
  hold(job: string, reason: string, message: string): Promise<void>;
  admit(job: string): Promise<void>;
  preempt(job: string, message: string): Promise<void>;
  close(): Promise<void>;
}

const GROUP = "kueue.x-k8s.io";
const VERSION = "v1beta2";
const QUEUE_LABEL = `${GROUP}/queue-name`;

export async function startQueue(
  plane: Pick<ControlPlane, "api" | "apply" | "kubectl">,
  { namespace, name }: { namespace: string; name: string },
): Promise<Queue> {
  await plane.apply(definition("LocalQueue", "localqueues"), definition("Workload", "workloads"));
  await plane.kubectl(["wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"]);
  const queue = { kind: "LocalQueue", metadata: { name, namespace }, spec: { clusterQueue: "gpus" } };
  await plane.apply({ apiVersion: `${GROUP}/${VERSION}`, ...queue });
  const webhook = await startWebhook();
  await plane.apply(webhook.configuration);
  const jobs = `/apis/batch/v1/namespaces/${namespace}/jobs`;
  const workloads = `/apis/${GROUP}/${VERSION}/namespaces/${namespace}/workloads`;

  const say = async (job: string, conditions: readonly object[]): Promise<void> => {
    const { metadata } = await plane.api.get<V1Job>(`${jobs}/${job}`);
    const workload = `job-${job}`;
    const head = { name: workload, namespace, labels: { [`${GROUP}/job-uid`]: metadata?.uid ?? "" } };
    await plane.apply({ apiVersion: `${GROUP}/${VERSION}`, kind: "Workload", metadata: head, spec: { queueName: name } });
    const lastTransitionTime = new Date().toISOString().replace(/\.\d+/, "");
    const status = { conditions: conditions.map((one) => ({ lastTransitionTime, ...one })) };
    await plane.api.patch(`${workloads}/${workload}/status`, { status }, "merge-patch");
  };
  const waits = (job: string, reason: string, message: string): Promise<void> =>
    say(job, [{ type: "QuotaReserved", status: "False", reason, message }]);

  return {
    hold: waits,
    async admit(job) {
      const message = "admitted by ClusterQueue gpus";
      const types = ["QuotaReserved", "Admitted"];
      await say(
        job,
        types.map((type) => ({ type, status: "True", reason: type, message })),
      );
      await plane.api.patch(`${jobs}/${job}`, { spec: { suspend: false } }, "merge-patch");
    },
    async preempt(job, message) {
      await waits(job, "Preempted", message);
      await plane.api.patch(`${jobs}/${job}`, { spec: { suspend: true } }, "merge-patch");
      await plane.api.patch(`${jobs}/${job}/status`, { status: { startTime: null } }, "merge-patch");
    },
    async close() {
      await plane.kubectl(["delete", "mutatingwebhookconfiguration", webhook.configuration.metadata.name]);
      await webhook.close();
    },
  };
}

/** What is read or written of the kind here; its conditions as Kueue's own definition has them. */
function definition(kind: string, plural: string): object {
  const strings = (...names: string[]): object => Object.fromEntries(names.map((name) => [name, { type: "string" }]));
  const condition = {
    type: "object",
    required: ["lastTransitionTime", "message", "reason", "status", "type"],
    properties: { ...strings("type", "message", "reason"), ...dated, status: { type: "string", enum: ["True", "False", "Unknown"] } },
  };
  const properties = {
    spec: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
    status: { type: "object", properties: { conditions: { type: "array", items: condition } } },
  };
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.${GROUP}` },
    spec: {
      group: GROUP,
      scope: "Namespaced",
      names: { kind, plural, singular: kind.toLowerCase(), listKind: `${kind}List` },
      versions: [
        {
          ...{ name: VERSION, served: true, storage: true, subresources: { status: {} } },
          schema: { openAPIV3Schema: { type: "object", properties } },
        },
      ],
    },
  };
}

const dated = { lastTransitionTime: { type: "string", format: "date-time" } };

/** Suspends every new Job that names a queue. */
async function startWebhook() {
  const directory = mkdtempSync(join(tmpdir(), "nightshift-webhook-"));
  const { caFile, keyAndCertificate } = await makeCertificate(directory);
  const pem = readFileSync(keyAndCertificate);
  const server = createServer({ key: pem, cert: pem }, (request, response) => {
    void (async () => {
      const review = (await json(request)) as { request: { uid: string; object: V1Job } };
      const { uid, object } = review.request;
      const isQueued = object.metadata?.labels?.[QUEUE_LABEL] !== undefined;
      const patch = Buffer.from(JSON.stringify([{ op: "add", path: "/spec/suspend", value: true }])).toString("base64");
      const answer = { uid, allowed: true, ...(isQueued ? { patchType: "JSONPatch", patch } : {}) };
      response.writeHead(200, { "content-type": "application/json" });
      response.end(JSON.stringify({ apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", response: answer }));
    })();
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const url = `https://localhost:${(server.address() as AddressInfo).port}/mutate-batch-v1-job`;
  return {
    configuration: {
      apiVersion: "admissionregistration.k8s.io/v1",
      kind: "MutatingWebhookConfiguration",
      metadata: { name: "queue-stand-in" },
      webhooks: [
        {
          ...{ name: "mjob.queue.test", sideEffects: "None", failurePolicy: "Fail", admissionReviewVersions: ["v1"] },
          clientConfig: { url, caBundle: readFileSync(caFile).toString("base64") },
          rules: [{ apiGroups: ["batch"], apiVersions: ["v1"], resources: ["jobs"], operations: ["CREATE"] }],
        },
      ],
    },
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => {
          rmSync(directory, { recursive: true, force: true });
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}
