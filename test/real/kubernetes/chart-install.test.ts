import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CoreV1EventList, V1Deployment, V1DeploymentList, V1PodList } from "@kubernetes/client-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../../e2e/processes.ts";
import { chart, examples, manifestsOf, podsOf, readChart, renderedOf } from "../../helm/objects.ts";
import { valuesFile } from "./chart-files.ts";
import { startCluster, type Cluster } from "./cluster.ts";
import { productImages } from "./images.ts";
import { installForeignKinds, restrictedNamespace } from "./restricted.ts";

const dir = mkdtempSync(join(tmpdir(), "nightshift-chart-install-"));
let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ images: productImages() });
  await installForeignKinds(cluster);
  const classes = ["serving", "training"].map((name, index) => ({ metadata: { name }, value: 1_000 - index }));
  await cluster.apply(...classes.map((one) => ({ apiVersion: "scheduling.k8s.io/v1", kind: "PriorityClass", ...one })));
});
afterAll(async () => {
  await cluster?.close();
  rmSync(dir, { recursive: true });
});

const valuesOf = (example: string): string => join(chart, "examples", example, "values.yaml");

async function namespace(name: string): Promise<string> {
  await cluster.apply(restrictedNamespace(name));
  await until(`${name} has its default account`, 30_000, () => cluster.api.get(`/api/v1/namespaces/${name}/serviceaccounts/default`));
  return name;
}

function deployments(name: string): Promise<V1DeploymentList> {
  return cluster.api.get<V1DeploymentList>(`/apis/apps/v1/namespaces/${name}/deployments`);
}

/** By `Kind/name`, what changes when somebody changes the object, and not when its controller reports on it. */
async function objects(name: string): Promise<Record<string, string>> {
  const kinds =
    "configmaps,serviceaccounts,services,deployments,statefulsets,cronjobs,roles,rolebindings,networkpolicies,poddisruptionbudgets";
  const list = JSON.parse(await cluster.kubectl(["get", kinds, "--namespace", name, "--output", "json"])) as {
    items: {
      kind: string;
      metadata: { name: string; uid: string; generation?: number; resourceVersion: string; labels?: Record<string, string> };
    }[];
  };
  const ours = list.items.filter(({ metadata }) => metadata.labels?.["app.kubernetes.io/managed-by"] === "Helm");
  return Object.fromEntries(
    ours.map(({ kind, metadata }) => [`${kind}/${metadata.name}`, `${metadata.uid} ${metadata.generation ?? metadata.resourceVersion}`]),
  );
}

describe("server-side dry-run on a real kube-apiserver, PSA restricted enforced", () => {
  beforeAll(async () => {
    await namespace("nightshift");
    // A pod is admitted with an account that is there, and a dry run makes none.
    await cluster.apply({ apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "nightshift-test", namespace: "nightshift" } });
  });

  test.each(examples)("%s: every object is taken, with no field that it does not know", async (example) => {
    const args = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "--namespace", "nightshift", "--filename", "-"];
    const said = await cluster.kubectl(args, readChart(`examples/${example}/rendered.yaml`));
    expect(said.trim().split("\n")).toHaveLength(renderedOf(example).length);
  });

  const pods = [
    ...examples.flatMap((example) => podsOf(renderedOf(example)).map((pod) => ({ name: `${example}: ${pod.of.metadata.name}`, pod }))),
    ...["collector", "adapter-agent"].flatMap((sidecar) =>
      podsOf(manifestsOf(readChart(`examples/sidecars/${sidecar}.yaml`))).map((pod) => ({ name: `sidecars/${sidecar}`, pod })),
    ),
  ];

  test.each(pods)("the pod of $name is admitted", async ({ pod }) => {
    const spec = { ...pod.spec, serviceAccountName: "default", priorityClassName: undefined };
    const body = { apiVersion: "v1", kind: "Pod", metadata: { name: "admitted", labels: pod.labels }, spec };
    await cluster.api.create("/api/v1/namespaces/nightshift/pods?dryRun=All&fieldValidation=Strict", body);
  });

  test("which means something: the same pod without one of the rules is refused", async () => {
    const [pod] = podsOf(renderedOf("existing-vllm"));
    const spec = { ...pod?.spec, serviceAccountName: "default", securityContext: {} };
    const body = {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "refused" },
      spec: { ...spec, containers: [{ name: "x", image: "x:1" }], volumes: [] },
    };
    await expect(cluster.api.create("/api/v1/namespaces/nightshift/pods?dryRun=All", body)).rejects.toThrow(/violates PodSecurity/);
  });
});

describe("real install, and a second one of the same values changes nothing", () => {
  test.each(examples)("%s", async (example) => {
    const name = await namespace(`install-${example}`);
    const args = [example, chart, "--namespace", name, "--values", valuesOf(example)];
    await cluster.helm(["install", ...args]);
    await until(`${example}: every Deployment has its pods`, 60_000, async () => {
      const { items } = await deployments(name);
      return items.length > 0 && items.every(({ spec, status }) => (status?.replicas ?? 0) >= (spec?.replicas ?? 1)) ? true : null;
    });
    const events = await cluster.api.get<CoreV1EventList>(`/api/v1/namespaces/${name}/events`);
    expect(events.items.filter(({ reason }) => reason === "FailedCreate").map(({ message }) => message)).toEqual([]);
    const before = await objects(name);
    await cluster.helm(["upgrade", ...args]);
    expect(await objects(name)).toEqual(before);
    await cluster.helm(["uninstall", example, "--namespace", name, "--no-hooks"]);
    await until(`${example}: nothing is left`, 60_000, async () => (Object.keys(await objects(name)).length === 0 ? true : null));
  });

  test("wrong values: nothing is installed, and the field is named", async () => {
    const name = await namespace("install-wrong");
    const values = valuesFile(dir, "wrong", { serve: { replicas: "two" } });
    await expect(cluster.helm(["install", "wrong", chart, "--namespace", name, "--values", values])).rejects.toThrow(/'\/serve\/replicas'/);
    expect(await objects(name)).toEqual({});
  });
});

const tokens = { "operator-token": "nightshift_operator_of_this_test", "collector-token": "nightshift_collector_of_this_test" };
const hashOf = (token: string): string => createHash("sha256").update(token).digest("hex");
const secret = (data: Record<string, string>, name: string): object => ({
  ...{ apiVersion: "v1", kind: "Secret", metadata: { name: "nightshift", namespace: name }, stringData: data },
});

describe("evaluation on a node: helm install, helm test, a changed config, helm uninstall", () => {
  const evaluation = (extra: object = {}): object => ({
    evaluation: { enabled: true },
    trainer: { enabled: false },
    config: {
      api: { tokens: { operator: [hashOf(tokens["operator-token"])] } },
      tenants: { default: { collectorTokenHashes: [hashOf(tokens["collector-token"])] } },
      ...extra,
    },
  });
  const podNames = async (name: string): Promise<string[]> => {
    const label = encodeURIComponent("app.kubernetes.io/component=evaluation");
    const { items } = await cluster.api.get<V1PodList>(`/api/v1/namespaces/${name}/pods?labelSelector=${label}`);
    return items.filter(({ metadata }) => metadata?.deletionTimestamp === undefined).map(({ metadata }) => metadata?.name ?? "");
  };

  test("as a user would", async () => {
    const name = await namespace("evaluation");
    await cluster.apply(secret(tokens, name));
    const place = ["--namespace", name, "--wait", "--timeout", "120s"];
    await cluster.helm(["install", "try", chart, ...place, "--values", valuesFile(dir, "evaluation", evaluation())]);
    const [first] = await podNames(name);
    const said = await cluster.helm(["test", "try", "--namespace", name, "--timeout", "120s"]);
    expect(said).toMatch(/Phase:\s+Succeeded/);

    // The checksum starts the pod anew; one that reads the same config stays.
    await cluster.helm(["upgrade", "try", chart, ...place, "--values", valuesFile(dir, "again", evaluation())]);
    expect(await podNames(name)).toEqual([first]);
    await cluster.helm(["upgrade", "try", chart, ...place, "--values", valuesFile(dir, "changed", evaluation({ logLevel: "debug" }))]);
    const second = await until("another pod is there, alone", 60_000, async () => {
      const names = await podNames(name);
      return names.length === 1 && names[0] !== first ? names[0] : null;
    });
    expect(second).toBeDefined();

    await cluster.helm(["uninstall", "try", ...place]);
    expect(await objects(name)).toEqual({});
  });
});

describe("Secret missing: a condition and the fix, no crash loop", () => {
  test("pods wait with an event that names it, and start once it is there", async () => {
    const name = await namespace("no-secret");
    await cluster.helm(["install", "bare", chart, "--namespace", name]);
    const label = encodeURIComponent("app.kubernetes.io/component=gateway");
    const gateways = async (): Promise<V1PodList["items"]> =>
      (await cluster.api.get<V1PodList>(`/api/v1/namespaces/${name}/pods?labelSelector=${label}`)).items;
    await until("the gateways' pods wait", 60_000, async () => {
      const events = await cluster.api.get<CoreV1EventList>(`/api/v1/namespaces/${name}/events`);
      return events.items.find(({ type, message }) => type === "Warning" && message?.includes('secret "nightshift" not found')) ?? null;
    });
    for (const { status } of await gateways())
      expect(status?.containerStatuses?.reduce((sum, one) => sum + one.restartCount, 0) ?? 0).toBe(0);
    await cluster.apply(secret({ "gateway-token": "nightshift_gateway_x", "collector-token": "nightshift_collector_x" }, name));
    await until("a gateway is ready", 90_000, async () => {
      const found = await cluster.api.get<V1Deployment>(`/apis/apps/v1/namespaces/${name}/deployments/bare-nightshift-gateway`);
      return (found.status?.readyReplicas ?? 0) > 0 ? true : null;
    });
    await cluster.helm(["uninstall", "bare", "--namespace", name]);
  });
});

describe("upgrade N-1 to N keeps a running canary, uninstall leaves traffic where it is told to be", () => {
  /** This chart as the version before would have been: what differs between two is mended here once there are two. */
  function previousChart(): string {
    const copy = join(dir, "previous");
    cpSync(chart, copy, { recursive: true });
    const file = join(copy, "Chart.yaml");
    writeFileSync(
      file,
      readFileSync(file, "utf8")
        .replace(/^version: .*$/m, "version: 0.0.9")
        .replace(/^appVersion: .*$/m, "appVersion: 0.0.9"),
    );
    return copy;
  }

  /** As the control service writes it in mid-canary: two targets, under its own name as the manager. */
  const rewrite = (name: string): object => ({
    apiVersion: "llm-d.ai/v1alpha2",
    kind: "InferenceModelRewrite",
    metadata: { name: "support-bot", namespace: name },
    spec: {
      poolRef: { name: "qwen3-4b" },
      rules: [
        {
          matches: [{ model: { type: "Exact", value: "support-bot" } }],
          targets: [
            { modelRewrite: "support-1-000000000000", weight: 900_000 },
            { modelRewrite: "support-2-111111111111", weight: 100_000 },
          ],
        },
      ],
    },
  });

  test("the weights of a canary, the Services and the Deployments stay; only pods are made anew", async () => {
    const name = await namespace("upgrade");
    const args = ["--namespace", name, "--values", valuesOf("llm-d")];
    await cluster.helm(["install", "nightshift", previousChart(), ...args]);
    await cluster.api.create(`/apis/llm-d.ai/v1alpha2/namespaces/${name}/inferencemodelrewrites?fieldManager=nightshift`, rewrite(name));
    const path = `/apis/llm-d.ai/v1alpha2/namespaces/${name}/inferencemodelrewrites/support-bot`;
    const canary = await cluster.api.get(path);
    const uids = (all: Record<string, string>): Record<string, string> =>
      Object.fromEntries(Object.entries(all).map(([key, text]) => [key, text.split(" ")[0] ?? ""]));
    const before = await objects(name);

    await cluster.helm(["upgrade", "nightshift", chart, ...args]);
    expect(await cluster.api.get(path)).toEqual(canary);
    expect(uids(await objects(name))).toEqual(uids(before));
    const { items } = await deployments(name);
    expect(items.map(({ spec }) => spec?.template.metadata?.labels?.["app.kubernetes.io/version"])).toEqual(items.map(() => "0.1.0"));
    for (const { spec } of items) expect(spec?.strategy?.rollingUpdate).toEqual({ maxSurge: 1, maxUnavailable: 0 });

    // Its control service answers nobody here (there is no Secret), so the canary cannot be ended, and uninstalling says so instead of leaving it behind.
    const uninstall = ["uninstall", "nightshift", "--namespace", name];
    await expect(cluster.helm([...uninstall, "--timeout", "5s"])).rejects.toThrow(/nightshift-uninstall not ready/);
    expect(uids(await objects(name))).toMatchObject({ "Deployment/nightshift-serve": uids(before)["Deployment/nightshift-serve"] });
    await cluster.helm([...uninstall, "--no-hooks"]);
    expect(await cluster.api.get(path)).toEqual(canary);
  });
});
