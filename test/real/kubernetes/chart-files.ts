import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { chart } from "../../helm/objects.ts";
import { helmPrograms } from "../parts/helm.ts";

/** What the cluster of the committed renders knows besides Kubernetes' own: every kind that a flag of the chart may ask for. */
export const API_VERSIONS = [
  "gateway.networking.k8s.io/v1/HTTPRoute",
  "keda.sh/v1alpha1/ScaledObject",
  "llm-d.ai/v1alpha2/InferenceModelRewrite",
  "monitoring.coreos.com/v1/PrometheusRule",
  "monitoring.coreos.com/v1/ServiceMonitor",
];

export const KUBE_VERSION = "1.35.1";

export interface HelmResult {
  code: number;
  out: string;
  err: string;
}

/** Helm without a cluster, with folders of its own in place of this machine's user's. */
export function helm(args: readonly string[]): Promise<HelmResult> {
  const home = mkdtempSync(join(tmpdir(), "nightshift-helm-"));
  const env = { PATH: process.env["PATH"] ?? "", HOME: home, KUBECONFIG: join(home, "none") };
  return new Promise((resolve) => {
    execFile(helmPrograms().helm, [...args], { env, maxBuffer: 64 * 1024 * 1024 }, (error, out, err) => {
      rmSync(home, { recursive: true });
      resolve({ code: error === null ? 0 : typeof error.code === "number" ? error.code : 1, out, err });
    });
  });
}

/** Arguments of `helm template` of an example's values, as release and namespace `nightshift`. */
export function renderArgs(example: string, options: { apiVersions?: readonly string[]; release?: string } = {}): string[] {
  const { apiVersions = API_VERSIONS, release = "nightshift" } = options;
  const known = apiVersions.flatMap((one) => ["--api-versions", one]);
  const values = ["--values", join(chart, "examples", example, "values.yaml")];
  return ["template", release, chart, "--namespace", "nightshift", "--kube-version", KUBE_VERSION, ...known, ...values];
}

/** What `examples/<name>/rendered.yaml` holds. @throws Error with what Helm says */
export async function render(example: string): Promise<string> {
  const { code, out, err } = await helm(renderArgs(example));
  if (code !== 0) throw new Error(`helm template of ${example}: ${err}`);
  return out;
}

/** A file with values, for `--values`; it goes with the test's folder. */
export function valuesFile(dir: string, name: string, values: unknown): string {
  const file = join(dir, `${name}.yaml`);
  writeFileSync(file, stringify(values));
  return file;
}
