import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { V1Job, V1Pod, V1PodList } from "@kubernetes/client-node";
import { request } from "undici";
import { afterAll, beforeAll, expect, test } from "vitest";
import { until } from "../../e2e/processes.ts";
import { startCluster, type Cluster } from "./cluster.ts";
import { job, logOf, pod, RESTRICTED, SHELL_IMAGES, shellPod, untilPod } from "./shell-pods.ts";

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ images: SHELL_IMAGES });
  await until("the default service account", 30_000, () => cluster.api.get("/api/v1/namespaces/default/serviceaccounts/default"));
});

afterAll(async () => {
  await cluster?.close();
});

const phase =
  (wanted: string) =>
  ({ status }: V1Pod): boolean =>
    status?.phase === wanted;

function untilJob(name: string, type: "Complete" | "Failed"): Promise<V1Job> {
  return until(`job ${name} ${type}`, 60_000, async () => {
    const found = await cluster.api.get<V1Job>(`/apis/batch/v1/namespaces/default/jobs/${name}`);
    return found.status?.conditions?.some((condition) => condition.type === type && condition.status === "True") === true ? found : null;
  });
}

async function podsOf(label: string): Promise<V1Pod[]> {
  return (await cluster.api.get<V1PodList>(`/api/v1/namespaces/default/pods?labelSelector=${encodeURIComponent(label)}`)).items;
}

test("a Job's pod runs as a process and completes", async () => {
  await cluster.apply(job("done", {}, shellPod("echo it ran; id -u")));
  expect((await untilJob("done", "Complete")).status?.succeeded).toBe(1);
  const [ran] = await podsOf("job=done");
  expect(logOf(cluster, ran?.metadata?.name ?? "")).toBe("it ran\n0\n");
  expect(ran?.status?.containerStatuses?.[0]?.state?.terminated).toMatchObject({ exitCode: 0, reason: "Completed" });
});

const FAILURE_POLICY = {
  rules: [
    { action: "Ignore", onPodConditions: [{ type: "DisruptionTarget", status: "True" }] },
    { action: "FailJob", onExitCodes: { operator: "In", values: [64, 65] } },
  ],
};

test("an exit code that fails the Job is read from the pod: no second attempt", async () => {
  const policy = { backoffLimit: 3, podFailurePolicy: FAILURE_POLICY };
  await cluster.apply(
    job("refused", policy, shellPod("echo bad input >&2; exit 64", {}, { terminationMessagePolicy: "FallbackToLogsOnError" })),
  );
  const failed = await untilJob("refused", "Failed");
  expect(failed.status?.conditions?.find(({ type }) => type === "Failed")?.reason).toBe("PodFailurePolicy");
  const pods = await podsOf("job=refused");
  expect(pods).toHaveLength(1);
  expect(pods[0]?.status?.containerStatuses?.[0]?.state?.terminated).toMatchObject({ exitCode: 64, reason: "Error", message: "bad input" });
});

test("an eviction is no failure of a Job with no attempts to spare, and the next pod begins after the first has ended", async () => {
  const policy = { backoffLimit: 0, podReplacementPolicy: "Failed", podFailurePolicy: FAILURE_POLICY };
  const script = "trap 'sleep 1; exit 7' TERM; mkdir -p /state; while :; do sleep 0.1; done";
  await cluster.apply(job("evicted", policy, shellPod(script)));
  const running = async (): Promise<V1Pod | null> =>
    (await podsOf("job=evicted")).find((one) => phase("Running")(one) && one.metadata?.deletionTimestamp === undefined) ?? null;
  const first = await until("the first pod runs", 30_000, running);
  await cluster.evict("default", first.metadata?.name ?? "");
  const second = await until("the second pod runs", 60_000, async () => {
    const found = await running();
    return found === null || found.metadata?.name === first.metadata?.name ? null : found;
  });
  const found = await cluster.api.get<V1Job>("/apis/batch/v1/namespaces/default/jobs/evicted");
  expect(found.status?.conditions ?? []).toEqual([]);
  // By the API server's own record: the first one's last status came before the second one's creation.
  const audit = cluster
    .audit()
    .filter(({ objectRef, responseStatus }) => objectRef?.resource === "pods" && (responseStatus?.code ?? 500) < 300);
  const name = (event: { responseObject?: Record<string, unknown> }): unknown =>
    (event.responseObject?.["metadata"] as { name?: string } | undefined)?.name;
  const ended = audit.find(
    (event) =>
      name(event) === first.metadata?.name && (event.responseObject?.["status"] as { phase?: string } | undefined)?.phase === "Failed",
  );
  const created = audit.find(
    (event) => event.verb === "create" && event.objectRef?.subresource === undefined && name(event) === second.metadata?.name,
  );
  expect(ended?.stageTimestamp.localeCompare(created?.stageTimestamp ?? "")).toBe(-1);
  expect(ended?.responseObject?.["status"]).toMatchObject({
    conditions: expect.arrayContaining([expect.objectContaining({ type: "DisruptionTarget", status: "True" })]) as unknown,
  });
});

test("a container that is killed for its memory says so", async () => {
  await cluster.apply(pod("greedy", shellPod("sleep 60")));
  await untilPod(cluster, "greedy", "runs", phase("Running"));
  cluster.node.killForMemory("default", "greedy", "main");
  const dead = await untilPod(cluster, "greedy", "fails", phase("Failed"));
  expect(dead.status?.containerStatuses?.[0]?.state?.terminated).toMatchObject({ exitCode: 137, reason: "OOMKilled" });
});

test("its volumes, its variables, its user and its read-only root are the container's own", async () => {
  const metadata = { namespace: "default" };
  await cluster.apply(
    { apiVersion: "v1", kind: "ConfigMap", metadata: { ...metadata, name: "settings" }, data: { "a.yaml": "a: 1\n", level: "info" } },
    { apiVersion: "v1", kind: "Secret", metadata: { ...metadata, name: "keys" }, stringData: { token: "not-a-secret-of-anybody" } },
    {
      apiVersion: "v1",
      kind: "PersistentVolumeClaim",
      metadata: { ...metadata, name: "data" },
      spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
    },
  );
  const env = [
    { name: "POD_IP", valueFrom: { fieldRef: { fieldPath: "status.podIP" } } },
    { name: "LEVEL", valueFrom: { configMapKeyRef: { name: "settings", key: "level" } } },
    { name: "TOKEN", valueFrom: { secretKeyRef: { name: "keys", key: "token" } } },
    { name: "ADDRESS", value: "http://$(POD_IP):80 $(MISSING) $$(POD_IP)" },
  ];
  const volumes = [
    { name: "config", configMap: { name: "settings", items: [{ key: "a.yaml", path: "nightshift.yaml" }] } },
    { name: "keys", projected: { defaultMode: 0o440, sources: [{ secret: { name: "keys" } }] } },
    { name: "data", persistentVolumeClaim: { claimName: "data" } },
    { name: "scratch", emptyDir: {} },
  ];
  const volumeMounts = [
    { name: "config", mountPath: "/etc/nightshift" },
    { name: "keys", mountPath: "/run/secrets/nightshift" },
    { name: "data", mountPath: "/var/lib/nightshift", subPath: "runs" },
    { name: "scratch", mountPath: "/tmp" },
  ];
  const script = [
    "cat /etc/nightshift/nightshift.yaml; cat /run/secrets/nightshift/token; echo",
    "echo $LEVEL $TOKEN; echo $ADDRESS; id -u; id -G",
    "echo kept > /var/lib/nightshift/file && echo scratch > /tmp/file && echo written",
    "touch /etc/nightshift/x /usr/x 2>/dev/null || echo read only; echo pid $$$$",
    "cat /var/run/secrets/kubernetes.io/serviceaccount/namespace",
  ].join("\n");
  const spec = shellPod(script, { volumes, securityContext: RESTRICTED.pod }, { env, volumeMounts, securityContext: RESTRICTED.container });
  await cluster.apply(pod("seen", spec));
  const { status } = await untilPod(cluster, "seen", "succeeds", phase("Succeeded"));
  expect(logOf(cluster, "seen").split("\n")).toEqual([
    ...["a: 1", "not-a-secret-of-anybody", "info not-a-secret-of-anybody"],
    `http://${status?.podIP}:80 $(MISSING) $(POD_IP)`,
    ...["2000", "2000", "written", "read only", "pid 1", "default"],
  ]);
});

test("a Service leads to ready pods by name, and no more to one that is not", async () => {
  const labels = { app: "web" };
  const container = {
    name: "main",
    image: "registry.test/team/server@sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ports: [{ name: "http", containerPort: 8080 }],
    readinessProbe: { httpGet: { path: "/ready", port: "http" }, periodSeconds: 1, failureThreshold: 1 },
    volumeMounts: [{ name: "state", mountPath: "/state" }],
  };
  const claims = ["web-0", "web-1"].map((name) => ({
    ...{ apiVersion: "v1", kind: "PersistentVolumeClaim", metadata: { name, namespace: "default" } },
    spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
  }));
  const pods = ["web-0", "web-1"].map((name) => ({
    ...{ apiVersion: "v1", kind: "Pod", metadata: { name, namespace: "default", labels } },
    spec: {
      containers: [container],
      volumes: [{ name: "state", persistentVolumeClaim: { claimName: name } }],
      terminationGracePeriodSeconds: 5,
    },
  }));
  const service = { apiVersion: "v1", kind: "Service", metadata: { name: "web", namespace: "default" } };
  await cluster.apply({ ...service, spec: { selector: labels, ports: [{ port: 80, targetPort: "http" }] } }, ...claims, ...pods);
  const answers = async (): Promise<string[]> => {
    const { spec } = await cluster.api.get<{ spec: { clusterIP: string } }>("/api/v1/namespaces/default/services/web");
    const seen = new Set<string>();
    for (let count = 0; count < 6; count++) {
      // Each on a connection of its own: a kept one stays with the pod that it was made to.
      const { body } = await request(`http://${spec.clusterIP}/`, { reset: true });
      seen.add(await body.text());
    }
    return [...seen].sort();
  };
  const untilAnswers = (wanted: readonly string[]): Promise<true> =>
    until(`answers of ${wanted.join(", ")}`, 30_000, async () => ((await answers()).join() === wanted.join() ? true : null));
  await untilAnswers(["web-0 ", "web-1 "]);

  const script =
    "for name in web web.default web.default.svc web.default.svc.cluster.local; do curl -sf -o /dev/null http://$name/ && echo $name; done; curl -s http://nobody/ || echo no such name";
  await cluster.apply(pod("caller", shellPod(script)));
  await untilPod(cluster, "caller", "succeeds", phase("Succeeded"), 60_000);
  expect(logOf(cluster, "caller").trim().split("\n")).toEqual([
    "web",
    "web.default",
    "web.default.svc",
    "web.default.svc.cluster.local",
    "no such name",
  ]);

  writeFileSync(join(cluster.volumes.directoryOf("default", "web-1"), "unready"), "");
  await untilAnswers(["web-0 "]);
});

test("a Deployment rolls to its next version, and the old pods are told to end", async () => {
  const labels = { app: "rolling" };
  const deployment = (version: string): object => ({
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "rolling", namespace: "default" },
    spec: {
      replicas: 2,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          terminationGracePeriodSeconds: 5,
          containers: [
            {
              ...{ name: "main", image: "server:1", env: [{ name: "VERSION", value: version }] },
              readinessProbe: { httpGet: { path: "/", port: 8080 }, periodSeconds: 1 },
            },
          ],
        },
      },
    },
  });
  const status = (): Promise<string> => cluster.kubectl(["rollout", "status", "deployment/rolling", "--timeout=90s"]);
  await cluster.apply(deployment("1"));
  await status();
  const old = (await podsOf("app=rolling")).map(({ metadata }) => metadata?.name ?? "");
  await cluster.apply(deployment("2"));
  await status();
  await until("the old pods are gone", 30_000, async () => ((await podsOf("app=rolling")).length === 2 ? true : null));
  for (const name of old) expect(logOf(cluster, name)).toContain("told to end");
});

test("a namespace that enforces `restricted` takes no root pod", async () => {
  const labels = { "pod-security.kubernetes.io/enforce": "restricted" };
  await cluster.apply({ apiVersion: "v1", kind: "Namespace", metadata: { name: "strict", labels } });
  await until("its service account", 30_000, () => cluster.api.get("/api/v1/namespaces/strict/serviceaccounts/default"));
  await expect(cluster.apply(pod("root", shellPod("true"), "strict"))).rejects.toThrow(/violates PodSecurity "restricted/);
  const spec = shellPod("true", { securityContext: RESTRICTED.pod }, { securityContext: RESTRICTED.container });
  await expect(cluster.apply(pod("user", spec, "strict"))).resolves.toBeUndefined();
});

test("a Secret that is missing is said in the pod's status, and its coming starts the pod", async () => {
  const env = [{ name: "TOKEN", valueFrom: { secretKeyRef: { name: "late", key: "token" } } }];
  await cluster.apply(pod("waiting", shellPod("echo $TOKEN", {}, { env })));
  const waiting = await untilPod(
    cluster,
    "waiting",
    "waits",
    ({ status }) => status?.containerStatuses?.[0]?.state?.waiting?.reason === "CreateContainerConfigError",
  );
  expect(waiting.status?.containerStatuses?.[0]?.state?.waiting?.message).toBe('secret "late" not found');
  await cluster.apply({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "late", namespace: "default" },
    stringData: { token: "here" },
  });
  await untilPod(cluster, "waiting", "succeeds", phase("Succeeded"));
  expect(logOf(cluster, "waiting")).toBe("here\n");
});

test("an API server that was killed comes back with everything, and pods that ran meanwhile are told of", async () => {
  await cluster.apply(job("patient", {}, shellPod("sleep 2; echo done")));
  await until("its pod runs", 30_000, async () => (await podsOf("job=patient")).find(phase("Running")) ?? null);
  await cluster.restartApiServer(3_000);
  expect((await untilJob("patient", "Complete")).status?.succeeded).toBe(1);
});

test("a native sidecar starts first and ends last", async () => {
  const initContainers = [
    {
      name: "side",
      image: "server:1",
      restartPolicy: "Always",
      startupProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1, failureThreshold: 30 },
    },
    { name: "look", image: "shell:1", args: ["curl -sf http://localhost:8080/ > /dev/null && echo it is there"] },
  ];
  await cluster.apply(pod("accompanied", shellPod("curl -sf http://localhost:8080/ > /dev/null && echo still there", { initContainers })));
  await untilPod(cluster, "accompanied", "succeeds", phase("Succeeded"), 60_000);
  expect(logOf(cluster, "accompanied", "look")).toBe("it is there\n");
  expect(logOf(cluster, "accompanied")).toBe("still there\n");
  expect(logOf(cluster, "accompanied", "side")).toBe("told to end\n");
});
