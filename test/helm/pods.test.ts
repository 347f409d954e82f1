import { describe, expect, test } from "vitest";
import { runCli } from "../../src/cli/program.ts";
import { parseConfig, type Config } from "../../src/config.ts";
import {
  configTreeOf,
  containersOf,
  examples,
  manifestsOf,
  podsOf,
  readChart,
  renderedOf,
  secretFilesOf,
  type Container,
  type Manifest,
  type Pod,
} from "./objects.ts";

const SIDECARS = ["collector", "adapter-agent"];
const sources: { source: string; manifests: readonly Manifest[] }[] = [
  ...examples.map((example) => ({ source: example, manifests: renderedOf(example) })),
  ...SIDECARS.map((name) => ({ source: `sidecars/${name}`, manifests: manifestsOf(readChart(`examples/sidecars/${name}.yaml`)) })),
];
const pods = sources.flatMap(({ source, manifests }) =>
  podsOf(manifests).map((pod) => ({ name: `${source}: ${pod.of.metadata.name}`, source, pod })),
);
const containers = pods.flatMap(({ name, source, pod }) =>
  containersOf(pod).map((container) => ({ name: `${name}/${container.name}`, source, pod, container })),
);
const ours = containers.filter(({ container }) => /\bnightshift(-serve)?[:@]/.test(container.image));

/** What ends by itself is asked by nobody whether it is well; the placeholder of the user's own agent is the user's. */
const runsToItsEnd = ({ of }: Pod): boolean => ["CronJob", "Job", "Pod"].includes(of.kind);
const PLACEHOLDER = "support:1.0.0";

test("there are pods to look at: all components, in all examples", () => {
  expect(new Set(examples)).toEqual(new Set(["existing-vllm", "full", "laptop", "llm-d"]));
  expect(new Set(pods.map(({ pod }) => pod.labels["app.kubernetes.io/component"] ?? "sidecar"))).toEqual(
    new Set(["serve", "ingest", "gateway", "collector", "vllm", "evaluation", "run", "test", "sidecar"]),
  );
});

describe("every container: non-root, read-only root, no escalation, drop ALL, seccomp", () => {
  test.each(containers)("$name", ({ pod, container }) => {
    expect(container.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      runAsNonRoot: true,
      capabilities: { drop: ["ALL"] },
      seccompProfile: { type: "RuntimeDefault" },
    });
    expect(pod.spec.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } });
    expect(pod.spec.hostNetwork).toBeUndefined();
    expect((pod.spec.volumes ?? []).filter(({ hostPath }) => hostPath !== undefined)).toEqual([]);
    // The root is read-only: whatever asks for a temporary file finds a place.
    expect(container.volumeMounts?.map(({ mountPath }) => mountPath)).toContain("/tmp");
  });
});

describe("every container: requests and limits", () => {
  test.each(containers)("$name", ({ container: { resources } }) => {
    expect(Object.keys(resources?.requests ?? {})).toEqual(expect.arrayContaining(["cpu", "memory"]));
    expect(Object.keys(resources?.limits ?? {})).toContain("memory");
  });
});

describe("every container: probes, on routes that its process has", () => {
  const served = containers.filter(({ pod, container }) => !runsToItsEnd(pod) && container.image !== PLACEHOLDER);

  test.each(served)("$name", ({ container }) => {
    const { livenessProbe, readinessProbe, startupProbe } = container;
    expect([livenessProbe, readinessProbe]).not.toContain(undefined);
    // A native sidecar holds back what comes after it until its startupProbe passes: the adapter agent waits for vLLM itself.
    expect(startupProbe === undefined).toBe(container.name === "adapter-agent");
    for (const probe of [livenessProbe, readinessProbe, startupProbe]) {
      if (probe?.httpGet === undefined) continue;
      expect(container.ports?.map(({ name }) => name)).toContain(probe.httpGet.port);
    }
    expect(livenessProbe?.httpGet?.path ?? livenessProbe?.exec?.command.at(-1)).toMatch(/\/health$/);
    expect(readinessProbe?.httpGet?.path ?? readinessProbe?.exec?.command.at(-1)).toMatch(READY[container.name] ?? /^nothing$/);
  });

  const READY: Readonly<Record<string, RegExp>> = {
    serve: /^\/ready$/,
    evaluation: /^\/ready$/,
    ingest: /^\/ready$/,
    "adapter-agent": /^\/ready$/,
    // These two say only that they live: a gateway serves with everything else dead, a collector answers each request by itself.
    gateway: /^\/health$/,
    collector: /\/health$/,
    vllm: /^\/health$/,
  };
});

describe("image digest honoured, no latest", () => {
  test.each(containers)("$name", ({ container: { image } }) => {
    expect(image).toMatch(/^[a-z0-9./-]+(:v?\d+\.\d+\.\d+|@sha256:[0-9a-f]{64})$/);
  });

  test("where the values name a digest, that is the image", () => {
    const images = containers.filter(({ source }) => source === "full").map(({ container }) => container.image);
    expect(images.filter((image) => !image.includes("@sha256:"))).toEqual([]);
  });
});

describe("secrets only by existingSecret", () => {
  test.each(examples)("%s makes none", (example) => {
    expect(renderedOf(example).filter(({ kind }) => kind === "Secret")).toEqual([]);
  });

  test.each(containers)("$name has none in its environment", ({ container: { env = [], args = [] } }) => {
    expect(env.filter(({ valueFrom }) => valueFrom?.secretKeyRef !== undefined)).toEqual([]);
    expect(env.filter(({ name, value }) => value !== undefined && /TOKEN|SECRET|PASSWORD|_KEY$/.test(name))).toEqual([]);
    expect(args.filter((word) => /^nightshift_(operator|gateway|agent|collector)_/.test(word))).toEqual([]);
  });

  test("each process has the files that it reads, and no other", () => {
    const s3 = ["s3-access-key-id", "s3-secret-access-key"];
    const expected: Record<string, string[]> = {
      serve: ["adapter-signing.pem", "postgres-url", "redaction-key", ...s3],
      ingest: ["postgres-url", "redaction-key", ...s3],
      collector: ["redaction-key", ...s3],
      gateway: ["collector-token", "gateway-token"],
      run: ["operator-token"],
      test: ["collector-token", "operator-token"],
    };
    const found = pods
      .filter(({ source }) => source === "existing-vllm")
      .map(({ pod }) => [pod.labels["app.kubernetes.io/component"], filesOf(pod)]);
    expect(Object.fromEntries(found)).toEqual(expected);
  });

  test("the key that signs adapters is the control service's alone", () => {
    const holders = pods.filter(({ pod }) => filesOf(pod).includes("adapter-signing.pem")).map(({ pod }) => pod.spec.containers[0]?.name);
    expect(new Set(holders)).toEqual(new Set(["serve"]));
  });
});

function filesOf(pod: Pod): string[] {
  return secretFilesOf(pod)
    .map(({ path }) => path)
    .toSorted();
}

describe("the config in the ConfigMap", () => {
  const config = (example: string): Config => parseConfig(configTreeOf(renderedOf(example)));

  test.each(examples)("%s: the product takes it, and every file it names is there for who reads it", (example) => {
    const { store, artifacts, adapterAgent, gateway, tenants } = config(example);
    if (example === "laptop") return expect([store.driver, artifacts.driver]).toEqual(["pglite", "file"]);
    if (store.driver !== "postgres" || artifacts.driver !== "s3") throw new Error("not the drivers of production");
    const readers: [string | undefined, string[]][] = [
      [store.urlFile, ["serve", "ingest"]],
      [artifacts.signingKeyFile, ["serve"]],
      [artifacts.accessKeyIdFile, ["serve", "ingest", "collector"]],
      [tenants["default"]?.redactionKeyFile, ["serve", "ingest", "collector"]],
      [gateway.collectorTokenFile, ["gateway"]],
      [adapterAgent.publicKeyFile, ["vllm"]],
    ];
    for (const [file, processes] of readers) {
      for (const { pod } of pods.filter(
        (one) => one.source === example && processes.includes(one.pod.labels["app.kubernetes.io/component"] ?? ""),
      ))
        expect(filesOf(pod).map((name) => `/run/secrets/nightshift/${name}`)).toContain(file);
    }
  });

  test("listeners bind to the pod's address, and Services, probes and addresses name their ports", () => {
    const { collector, gateway, api, ingest, adapterAgent, telemetry } = config("full");
    const ports = Object.fromEntries(
      ours
        .filter(({ source }) => source === "full")
        .map(({ container }) => [container.name, Object.fromEntries((container.ports ?? []).map((one) => [one.name, one.containerPort]))]),
    );
    const metrics = telemetry.prometheus?.port;
    expect(ports).toMatchObject({
      serve: { http: api.port, metrics },
      ingest: { health: ingest.port, metrics },
      gateway: { http: gateway.port, metrics },
      collector: { "otlp-http": collector.port, "otlp-grpc": collector.grpc.port, metrics },
      "adapter-agent": { agent: adapterAgent.port, metrics },
    });
    expect(new URL(gateway.controlUrl ?? "").port).toBe(String(api.port));
    expect(new URL(gateway.collectorUrl ?? "").port).toBe(String(collector.port));
    // kubectl port-forward and exec call it at its pod's localhost.
    expect(api.host).toBe("*");
    const bound: Record<string, string> = {
      ingest: "INGEST",
      gateway: "GATEWAY",
      collector: "COLLECTOR",
      "adapter-agent": "ADAPTER_AGENT",
    };
    for (const { container } of ours.filter(({ source, container: { name } }) => source === "full" && name in bound)) {
      expect(container.env).toContainEqual({ name: `NIGHTSHIFT_${bound[container.name]}__HOST`, value: "$(POD_IP)" });
      expect(container.env?.[container.name === "adapter-agent" ? 2 : 0]).toEqual({
        name: "POD_IP",
        valueFrom: { fieldRef: { fieldPath: "status.podIP" } },
      });
    }
  });

  test("every process reads the same one, and begins anew when what it reads has changed", () => {
    for (const { pod } of pods.filter(
      ({ source, pod: { spec } }) => source === "full" && spec.volumes?.some(({ name }) => name === "config"),
    ))
      expect(pod.annotations["checksum/config"]).toMatch(/^[0-9a-f]{64}$/);
  });
});

describe("command lines", () => {
  const lines = ours.filter(({ container }) => container.command === undefined);

  test.each(lines)("$name is one that nightshift takes", async ({ container }) => {
    const said: string[] = [];
    const say = (text: string): void => void said.push(text);
    const env = Object.fromEntries((container.env ?? []).map(({ name, value }) => [name, value]));
    // No file of it is here: an option that did not exist would have been refused before they are looked for.
    expect(await runCli(expanded(container), { env, out: say, err: say, colours: false, signal: new AbortController().signal })).toBe(2);
    expect(said.join("\n")).toMatch(/\/(etc|run\/secrets)\/nightshift\/\S+ cannot be read|cannot read \/etc\/nightshift/);
  });

  function expanded({ args = [] }: Container): string[] {
    return args.map((word) => word.replace("$(POD_NAME)", "vllm-0"));
  }
});

describe("a night's pod asks under its Job's own key, and fails the Job at once for what a person must mend", () => {
  const nights = pods.filter(({ pod }) => pod.of.kind === "CronJob");

  test.each(nights)("$name", ({ pod }) => {
    const { backoffLimit, podFailurePolicy } = (pod.of.spec as { jobTemplate: { spec: Record<string, unknown> } }).jobTemplate.spec;
    expect(backoffLimit).toBeGreaterThan(0);
    expect(podFailurePolicy).toEqual({
      rules: [
        { action: "Ignore", onPodConditions: [{ type: "DisruptionTarget" }] },
        { action: "FailJob", onExitCodes: { containerName: "run", operator: "In", values: [2, 3] } },
      ],
    });
    const [container] = pod.spec.containers;
    expect(container?.args?.slice(3, 5)).toEqual(["--once", "$(JOB_UID)"]);
    const fieldPath = "metadata.labels['batch.kubernetes.io/controller-uid']";
    expect(container?.env).toContainEqual({ name: "JOB_UID", valueFrom: { fieldRef: { fieldPath } } });
    expect(container?.terminationMessagePolicy).toBe("FallbackToLogsOnError");
  });
});

describe("nobody but the control service has a token of the API server", () => {
  test.each(pods)("$name", ({ pod }) => {
    const component = pod.labels["app.kubernetes.io/component"];
    expect(pod.spec.automountServiceAccountToken).toBe(component === "serve");
    // Services would put variables into the environment that our own config reads: NIGHTSHIFT_….
    if (component !== undefined) expect(pod.spec.enableServiceLinks).toBe(false);
  });
});
