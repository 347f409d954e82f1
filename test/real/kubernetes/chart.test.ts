import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import {
  chart,
  configTreeOf,
  containersOf,
  examples,
  manifestsOf,
  podsOf,
  readChart,
  type Manifest,
  type Pod,
} from "../../helm/objects.ts";
import { API_VERSIONS, helm, KUBE_VERSION, render, renderArgs, valuesFile, type HelmResult } from "./chart-files.ts";

const dir = mkdtempSync(join(tmpdir(), "nightshift-chart-"));
afterAll(() => rmSync(dir, { recursive: true }));
const exampleValues = (example: string): string => join(chart, "examples", example, "values.yaml");

let files = 0;
/** `helm template` of the chart with values over those of an example, or over its own. */
function template(values: object, example?: string, apiVersions: readonly string[] = API_VERSIONS): Promise<HelmResult> {
  const file = valuesFile(dir, `values-${++files}`, values);
  if (example !== undefined) return helm([...renderArgs(example, { apiVersions }), "--values", file]);
  const known = apiVersions.flatMap((one) => ["--api-versions", one]);
  return helm(["template", "nightshift", chart, "--kube-version", KUBE_VERSION, ...known, "--values", file]);
}

async function manifests(values: object, example?: string, apiVersions?: readonly string[]): Promise<Manifest[]> {
  const { code, out, err } = await template(values, example, apiVersions);
  if (code !== 0) throw new Error(err);
  return manifestsOf(out);
}

function named(all: readonly Manifest[], kind: string, name: string): Manifest {
  const found = all.find((one) => one.kind === kind && one.metadata.name === name);
  if (found === undefined) throw new Error(`no ${kind} ${name}`);
  return found;
}

function podOf(all: readonly Manifest[], component: string): Pod {
  const found = podsOf(all).find(({ labels }) => labels["app.kubernetes.io/component"] === component);
  if (found === undefined) throw new Error(`no pod of ${component}`);
  return found;
}

describe("helm lint --strict", () => {
  test("over the default values", async () => {
    expect(await helm(["lint", "--strict", chart])).toMatchObject({ code: 0 });
  });

  test.each(examples)("over the values of the example %s", async (example) => {
    expect(await helm(["lint", "--strict", chart, "--values", exampleValues(example)])).toMatchObject({ code: 0 });
  });
});

describe("rendered examples: golden and byte-stable", () => {
  test.each(examples)("%s (node test/real/kubernetes/render-examples.ts writes them)", async (example) => {
    const first = await render(example);
    expect(first).toBe(readChart(`examples/${example}/rendered.yaml`));
    expect(await render(example)).toBe(first);
  });
});

describe("wrong values fail with the field's name", () => {
  const WRONG: { values: object; example?: string; says: RegExp }[] = [
    { values: { gatway: { replicas: 3 } }, says: /'gatway' not allowed/ },
    { values: { serve: { replicas: "two" } }, says: /'\/serve\/replicas'/ },
    { values: { images: { nightshift: { digest: "1111" } } }, says: /'\/images\/nightshift\/digest'/ },
    { values: { secrets: { postgresUrl: { value: "postgres://…" } } }, says: /'\/secrets\/postgresUrl'.*'value'/ },
    { values: { baseModel: { volume: { hostPath: { path: "/models" } } } }, says: /'\/baseModel\/volume'.*'hostPath'/ },
    { values: { nights: { schedule: "at night" } }, says: /'\/nights\/schedule'/ },
    { values: { vllm: { maxLoras: 1 } }, says: /'\/vllm\/maxLoras'/ },
    { values: { trainer: { jobRunner: { gpu: 1 } } }, says: /'\/trainer\/jobRunner'.*'gpu'/ },
    { values: { config: { gateway: { leaseMs: 60_000 } } }, says: /'\/config\/gateway\/leaseMs'/ },
    { values: { config: { agents: { support: { baseModel: "/models/base" } } } }, says: /'\/config\/agents\/support'.*'model'/ },
    // What no schema can say, the templates do.
    { values: { images: { nightshift: { tag: "latest" } } }, says: /images\.nightshift\.tag is latest/ },
    { values: { nights: { agents: { nobody: { suspend: true } } } }, says: /nights\.agents\.nobody names no agent/ },
    { values: { config: { agents: { support: { model: "m", baseModel: "/models/base" } } } }, says: /baseModel\.volume is empty/ },
    { values: { config: { artifacts: { driver: "file" } } }, says: /storage\.existingClaim is empty/ },
    { values: { trainer: { enabled: false } }, says: /storage\.existingClaim is empty/ },
    { values: { config: { tenants: { acme: {} } } }, says: /config\.tenants\.acme\.redactionKeyFile is missing/ },
    {
      values: { vllm: { model: "" }, config: { agents: { sales: { baseModel: "/models/other" } } } },
      example: "full",
      says: /vllm\.model is empty/,
    },
  ];

  test.each(WRONG)("$says", async ({ values, example, says }) => {
    const { code, err } = await template(values, example);
    expect(code).not.toBe(0);
    expect(err.replaceAll("\n", " ")).toMatch(says);
  });
});

describe("null takes a default away", () => {
  test("the GPU of vLLM, and the user, where a cluster chooses it", async () => {
    const gpu = { "nvidia.com/gpu": null };
    const values = { vllm: { resources: { requests: gpu, limits: gpu } }, security: { runAsUser: null, runAsGroup: null, fsGroup: null } };
    const pod = podOf(await manifests(values, "full"), "vllm");
    expect(JSON.stringify(pod.spec.containers.map(({ resources }) => resources))).not.toContain("gpu");
    expect(pod.spec.securityContext).toEqual({ runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } });
  });
});

describe("artifacts on a claim in place of a bucket", () => {
  const values = { storage: { existingClaim: "shared" }, config: { artifacts: { driver: "file" } } };

  test("all that read or write them mount it at one path, trainers get their run of it, and nobody has keys of a bucket", async () => {
    const all = await manifests(values);
    for (const component of ["serve", "ingest", "collector"]) {
      const [container] = containersOf(podOf(all, component));
      expect(container?.volumeMounts).toContainEqual({ name: "storage", mountPath: "/var/lib/nightshift/artifacts", subPath: "artifacts" });
    }
    const config = configTreeOf(all) as { training: { jobRunner: { runDirectory: object } } };
    expect(config.training.jobRunner.runDirectory).toEqual({ kind: "claim", claimName: "shared" });
    expect(JSON.stringify(all)).not.toContain("s3-access-key-id");
  });

  test("without trainer Jobs serve trains itself: the image with Python, run directories on the claim, no right to Jobs", async () => {
    const all = await manifests({ ...values, trainer: { enabled: false } });
    const [serve] = containersOf(podOf(all, "serve"));
    expect(serve?.image).toBe("nightshift-serve:0.1.0");
    expect(serve?.volumeMounts).toContainEqual({ name: "storage", mountPath: "/var/lib/nightshift/runs", subPath: "runs" });
    expect(configTreeOf(all)).not.toHaveProperty("training");
    expect(JSON.stringify(named(all, "Role", "nightshift-serve").rules)).not.toContain("jobs");
  });
});

describe("image digest honoured, no latest", () => {
  const digest = `sha256:${"4".repeat(64)}`;
  const imageOf = async (image: object): Promise<string | undefined> =>
    podOf(await manifests({ images: { nightshift: image } }), "ingest").spec.containers[0]?.image;

  test("the chart's appVersion, a tag, a digest over both, a registry before all", async () => {
    expect(await imageOf({})).toBe("nightshift:0.1.0");
    expect(await imageOf({ tag: "0.2.0" })).toBe("nightshift:0.2.0");
    expect(await imageOf({ tag: "0.2.0", digest })).toBe(`nightshift@${digest}`);
    expect(await imageOf({ registry: "registry.example.com/team", digest })).toBe(`registry.example.com/team/nightshift@${digest}`);
  });
});

describe("PDB only if replicas > 1", () => {
  const budgets = async (values: object): Promise<string[]> =>
    (await manifests(values)).filter(({ kind }) => kind === "PodDisruptionBudget").map(({ metadata }) => metadata.name);

  test("with two of each, with one of some, with none", async () => {
    const all = ["collector", "gateway", "ingest", "serve"].map((name) => `nightshift-${name}`);
    expect(await budgets({})).toEqual(all);
    expect(await budgets({ gateway: { replicas: 1 }, ingest: { replicas: 0 } })).toEqual(["nightshift-collector", "nightshift-serve"]);
    expect(await budgets({ ingest: { replicas: 1, keda: { enabled: true, minReplicas: 2 } } })).toEqual(all);
  });
});

describe("topology spread, affinity, tolerations, annotations pass through", () => {
  test.each(["serve", "ingest", "gateway", "collector", "vllm"])("%s", async (component) => {
    const own = {
      nodeSelector: { pool: "edge" },
      tolerations: [{ key: "dedicated", operator: "Exists" }],
      affinity: { nodeAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [] } },
      priorityClassName: "high",
    };
    const spread = [{ maxSkew: 2, topologyKey: "topology.kubernetes.io/zone", whenUnsatisfiable: "DoNotSchedule" }];
    const before = podOf(await manifests({}, "full"), component);
    expect(before.spec.topologySpreadConstraints).toMatchObject([
      { topologyKey: "kubernetes.io/hostname", whenUnsatisfiable: "ScheduleAnyway" },
    ]);
    const values = { [component]: { ...own, topologySpreadConstraints: spread, podAnnotations: { "a/b": "c" }, podLabels: { tier: "x" } } };
    const after = podOf(await manifests(values, "full"), component);
    expect(after.spec).toMatchObject({ ...own, topologySpreadConstraints: spread });
    expect([after.annotations["a/b"], after.labels["tier"]]).toEqual(["c", "x"]);
  });
});

describe("ServiceMonitor, PrometheusRule, HTTPRoute, KEDA and the right to InferenceModelRewrites only with .Capabilities and a flag", () => {
  const FLAGS = {
    metrics: { serviceMonitor: { enabled: true }, prometheusRule: { enabled: true } },
    httpRoute: { enabled: true, parentRefs: [{ name: "internal" }] },
    ingest: { keda: { enabled: true } },
  };
  const KINDS = ["HTTPRoute", "PrometheusRule", "ScaledObject", "ServiceMonitor"];
  const kindsOf = (all: readonly Manifest[]): string[] =>
    [...new Set(all.map(({ kind }) => kind))].filter((kind) => KINDS.includes(kind)).toSorted();

  test("both", async () => {
    expect(kindsOf(await manifests(FLAGS))).toEqual(KINDS);
  });

  test("neither, or one of the two", async () => {
    expect(kindsOf(await manifests({}))).toEqual([]);
    expect(kindsOf(await manifests(FLAGS, undefined, []))).toEqual([]);
  });

  test("what KEDA scales has no replicas of its own: an upgrade would set them back", async () => {
    const scaled = named(await manifests(FLAGS), "Deployment", "nightshift-ingest");
    expect(scaled.spec).not.toHaveProperty("replicas");
  });

  test("llm-d's objects: the agent's router is the flag", async () => {
    const rules = async (apiVersions?: readonly string[]): Promise<string> =>
      JSON.stringify(named(await manifests({}, "llm-d", apiVersions), "Role", "nightshift-serve").rules);
    expect(await rules()).toContain("inferencemodelrewrites");
    expect(await rules([])).not.toContain("inferencemodelrewrites");
    expect(JSON.stringify(await manifests({}, "existing-vllm"))).not.toContain("inferencemodelrewrites");
  });
});

describe("config checksum rolls pods", () => {
  const sums = async (values: object): Promise<Record<string, string | undefined>> =>
    Object.fromEntries(
      podsOf(await manifests(values, "full")).map(({ labels, annotations }) => [
        labels["app.kubernetes.io/component"],
        annotations["checksum/config"],
      ]),
    );

  test("a night's threshold: all that read it, and not a fleet of vLLM, which does not", async () => {
    const [before, after] = [await sums({}), await sums({ config: { agents: { support: { night: { iterations: 2 } } } } })];
    for (const name of ["serve", "ingest", "gateway", "collector"]) expect(after[name]).not.toBe(before[name]);
    expect(after["vllm"]).toBe(before["vllm"]);
  });

  test("what the adapter agent reads: vLLM's pods, too", async () => {
    const [before, after] = [await sums({}), await sums({ config: { artifacts: { prefix: "another/" } } })];
    expect(after["vllm"]).not.toBe(before["vllm"]);
  });

  test("another version of the chart alone starts nothing anew", async () => {
    const pods = async (): Promise<string> =>
      JSON.stringify(
        podsOf(await manifests({}, "full"))
          .filter(({ of }) => of.kind !== "Pod")
          .map(({ labels }) => labels),
      );
    expect(await pods()).not.toContain("helm.sh/chart");
  });
});

describe("NOTES.txt gives the next commands", () => {
  /** The notes of an install that a cluster would not have to answer. */
  async function notes(example?: string): Promise<string> {
    const values = example === undefined ? [] : ["--values", exampleValues(example)];
    const { code, out, err } = await helm(["install", "nightshift", chart, "--dry-run=client", "--namespace", "agents", ...values]);
    if (code !== 0) throw new Error(err);
    return out.slice(out.indexOf("NOTES:"));
  }

  test("of what was installed: its Services by their names, its agents, the Secret it waits for", async () => {
    const text = await notes("existing-vllm");
    expect(text).toContain("kubectl --namespace agents rollout status deployment/nightshift-serve");
    expect(text).toContain("helm test nightshift --namespace agents");
    expect(text).toContain("OPENAI_BASE_URL=http://nightshift-gateway.agents:8080/v1");
    expect(text).toContain("OTEL_EXPORTER_OTLP_ENDPOINT=http://nightshift-collector.agents:4318");
    expect(text).toContain("create job --from=cronjob/nightshift-run-support first-night");
    expect(text).toContain("the Secret nightshift");
  });

  test("with no agent, and for evaluation", async () => {
    expect(await notes()).toContain("config.agents is empty");
    const laptop = await notes("laptop");
    expect(laptop).toContain("FOR EVALUATION ONLY");
    expect(laptop).toContain("deployment/nightshift-evaluation");
  });

  test("says what was left out because the cluster does not know it", async () => {
    expect(await notes("full")).toContain("Left out: metrics.serviceMonitor, because the cluster has no monitoring.coreos.com/v1.");
  });
});

describe("evaluation: everything in one pod, said to be for evaluation only", () => {
  test("one replica that is never two, on the embedded parts", async () => {
    const all = await manifests({}, "laptop");
    expect(all.filter(({ kind }) => kind === "Deployment").map(({ metadata }) => metadata.name)).toEqual(["nightshift-evaluation"]);
    expect(named(all, "Deployment", "nightshift-evaluation").spec).toMatchObject({ replicas: 1, strategy: { type: "Recreate" } });
    expect(containersOf(podOf(all, "evaluation")).map(({ args }) => args?.[0])).toEqual(["up"]);
    expect((await template({}, "laptop")).out).toContain("FOR EVALUATION ONLY");
  });
});
