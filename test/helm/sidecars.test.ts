import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { containersOf, manifestsOf, podsOf, readChart, renderedOf, secretFilesOf, type Container, type Pod } from "./objects.ts";

const guide = readFileSync(join(import.meta.dirname, "../../docs/kubernetes.md"), "utf8");

function podOf(name: string): Pod {
  const [pod] = podsOf(manifestsOf(readChart(`examples/sidecars/${name}.yaml`)));
  if (pod === undefined) throw new Error(`no pod in ${name}`);
  return pod;
}

function containerOf(pod: Pod, name: string): Container {
  const found = containersOf(pod).find((one) => one.name === name);
  if (found === undefined) throw new Error(`no container ${name}`);
  return found;
}

describe("sidecar snippets: native sidecars", () => {
  test.each(["collector", "adapter-agent"])("%s is an init container that stays, and the guide points to it", (name) => {
    const [sidecar, ...others] = podOf(name).spec.initContainers ?? [];
    expect([sidecar?.name, sidecar?.restartPolicy, others]).toEqual([name, "Always", []]);
    expect(guide).toContain(`helm/examples/sidecars/${name}.yaml`);
  });

  test("the collector beside an agent listens on loopback, where the agent sends and the kubelet's probes ask from inside", () => {
    const pod = podOf("collector");
    const collector = containerOf(pod, "collector");
    // Unset: loopback.
    expect(collector.env?.map(({ name }) => name).filter((name) => name.endsWith("__HOST"))).toEqual([]);
    for (const probe of [collector.startupProbe, collector.livenessProbe, collector.readinessProbe])
      expect(probe?.exec?.command.at(-1)).toBe("http://127.0.0.1:4318/health");
    expect(containerOf(pod, "agent").env).toContainEqual({ name: "OTEL_EXPORTER_OTLP_ENDPOINT", value: "http://127.0.0.1:4318" });
    expect(secretFilesOf(pod).map(({ path }) => path)).toEqual(["redaction-key", "s3-access-key-id", "s3-secret-access-key"]);
  });

  test("the adapter agent beside a vLLM of yours is the one that the chart puts beside its own", () => {
    const ofChart = podsOf(renderedOf("full")).find(({ labels }) => labels["app.kubernetes.io/component"] === "vllm");
    if (ofChart === undefined) throw new Error("no vLLM in the example full");
    const [own, theirs] = [containerOf(ofChart, "adapter-agent"), containerOf(podOf("adapter-agent"), "adapter-agent")];
    const args = (one: Container, service: string): string[] => (one.args ?? []).map((word) => (word === service ? "SERVICE" : word));
    expect(args(theirs, "vllm")).toEqual(args(own, "nightshift-vllm"));
    const { image: _, args: _args, volumeMounts: theirMounts, ...theirRest } = theirs;
    const {
      image: _image,
      args: _own,
      volumeMounts: ownMounts,
      imagePullPolicy: _policy,
      ...ownRest
    } = own as Container & { imagePullPolicy: string };
    expect(theirRest).toEqual(ownRest);
    expect(theirMounts?.map(({ mountPath }) => mountPath).toSorted()).toEqual(ownMounts?.map(({ mountPath }) => mountPath).toSorted());
    const files = secretFilesOf(podOf("adapter-agent")).map(({ path }) => path);
    expect(files.toSorted()).toEqual(
      secretFilesOf(ofChart)
        .map(({ path }) => path)
        .toSorted(),
    );
  });

  test("both vLLMs have the flags that doctor asks for, and read the adapters where their agent puts them", () => {
    for (const pod of [
      podOf("adapter-agent"),
      ...podsOf(renderedOf("full")).filter(({ labels }) => labels["app.kubernetes.io/component"] === "vllm"),
    ]) {
      const vllm = containerOf(pod, "vllm");
      const flag = (name: string): string | undefined => vllm.args?.find((word) => word.startsWith(`--${name}=`))?.split("=")[1];
      expect(Number(flag("max-loras"))).toBeGreaterThanOrEqual(4);
      expect(Number(flag("max-cpu-loras"))).toBeGreaterThanOrEqual(6);
      expect(Number(flag("max-lora-rank"))).toBeGreaterThanOrEqual(16);
      expect([flag("logprobs-mode"), flag("scheduling-policy"), vllm.args?.includes("--enable-lora")]).toEqual([
        "processed_logprobs",
        "priority",
        true,
      ]);
      expect(vllm.env).toContainEqual({ name: "VLLM_ALLOW_RUNTIME_LORA_UPDATING", value: "True" });
      const [agentData, vllmData] = [containerOf(pod, "adapter-agent"), vllm].map((one) =>
        one.volumeMounts?.find(({ mountPath }) => mountPath === "/var/lib/nightshift"),
      );
      expect(vllmData).toEqual({ ...agentData, readOnly: true });
    }
  });
});
