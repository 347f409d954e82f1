import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { runGo } from "./go.ts";
import { PartError, partDirectory, runTool, type Part } from "./part.ts";

const VERSION = "1.35.1";
const MODULE = "k8s.io/kubernetes";
const PROGRAMS = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] as const;
const GATEWAY_API = "sigs.k8s.io/gateway-api@v1.6.2";
const GO_FIX = "install Go 1.25 or newer, check the network and the free disk space (8 GB), then run the command again";
const ETCD_FIX = "on Debian as root: apt-get update; elsewhere put a package named etcd-server where apt-get download finds it";

/** The control plane of Kubernetes, compiled from its Go module, with Debian's etcd and the CRDs of the Gateway API. */
export const kubernetesPart: Part = {
  name: "kubernetes",
  version: VERSION,
  sizeMb: 260,
  async fetch(dir, say) {
    const build = join(dir, "build");
    mkdirSync(build);
    await fetchEtcd(dir, build, say);
    say(`the modules of Kubernetes ${VERSION}`);
    writeModule(build, await fetchModule(`${MODULE}@v${VERSION}`, build));
    await copyGatewayCrds(dir, build);
    say(`compiling ${PROGRAMS.join(", ")} on ${availableParallelism()} cores, for minutes`);
    await compile(dir, build);
    rmSync(build, { recursive: true });
  },
};

/** Extracted, not installed: Debian's package would start a server of its own. */
async function fetchEtcd(dir: string, build: string, say: (line: string) => void): Promise<void> {
  say("Debian's etcd-server (apt-get download)");
  const options = { cwd: build, problem: "Debian's etcd-server cannot be fetched", fix: ETCD_FIX };
  try {
    await runTool("apt-get", ["download", "-qq", "etcd-server"], options);
  } catch (error) {
    // Its lists may name a version that is gone, or be empty; only root can fetch them anew.
    if (process.getuid?.() !== 0) throw error;
    await runTool("apt-get", ["update", "-qq"], options);
    await runTool("apt-get", ["download", "-qq", "etcd-server"], options);
  }
  const file = readdirSync(build).find((name) => name.endsWith(".deb"));
  if (file === undefined) throw new PartError("apt-get download left no package", ETCD_FIX);
  await runTool("dpkg-deb", ["--extract", file, "etcd"], options);
  renameSync(join(build, "etcd/usr/bin/etcd"), join(dir, "etcd"));
  say((await runTool(join(dir, "etcd"), ["--version"], { problem: "etcd does not run", fix: ETCD_FIX })).split("\n")[0] ?? "");
}

interface GoModule {
  /** Its go.mod. */
  GoMod: string;
  /** Its files. */
  Dir: string;
}

async function fetchModule(module: string, cwd: string): Promise<GoModule> {
  const options = { cwd, bin: cwd, problem: `${module} cannot be fetched`, fix: GO_FIX };
  return JSON.parse(await runGo(["mod", "download", "-json", module], options)) as GoModule;
}

/**
 * A module that is nothing but its requirements. Kubernetes names its staging modules by folders of its repository, which whoever imports it does not have:
 * each is published under the same minor and patch version.
 */
function writeModule(build: string, { GoMod }: GoModule): void {
  const text = readFileSync(GoMod, "utf8");
  const go = /^go (\S+)$/m.exec(text)?.[1];
  const staged = [...new Set([...text.matchAll(/(\S+) => \.\/staging\/src\/\S+/g)].map(([, name = ""]) => name))];
  if (go === undefined || staged.length === 0)
    throw new PartError(`the go.mod of ${MODULE} ${VERSION} reads otherwise than expected`, GO_FIX);
  const replaced = staged.map((name) => `replace ${name} => ${name} v0${VERSION.slice(1)}`);
  writeFileSync(
    join(build, "go.mod"),
    ["module nightshift.test/kubernetes", `go ${go}`, `require ${MODULE} v${VERSION}`, ...replaced, ""].join("\n"),
  );
}

/** What traffic routers write, so that the API server knows their kinds. */
async function copyGatewayCrds(dir: string, build: string): Promise<void> {
  const { Dir } = await fetchModule(GATEWAY_API, build);
  cpSync(join(Dir, "config/crd/standard"), join(dir, "gateway-api"), { recursive: true });
}

async function compile(dir: string, build: string): Promise<void> {
  const options = { cwd: build, bin: dir, problem: `Kubernetes ${VERSION} cannot be compiled`, fix: GO_FIX };
  const [major, minor] = VERSION.split(".");
  const stamp = { gitVersion: `v${VERSION}`, gitMajor: major, gitMinor: minor };
  const flags = Object.entries(stamp).map(([name, value]) => `-X k8s.io/component-base/version.${name}=${value}`);
  const packages = PROGRAMS.map((name) => `${MODULE}/cmd/${name}`);
  await runGo(["build", "-mod=mod", "-ldflags", ["-s -w", ...flags].join(" "), "-o", `${dir}/`, ...packages], options);
}

/** Paths of the programs, and of a folder with the CRDs of the Gateway API. @throws PartError when they were not fetched */
export function kubernetesPrograms(): Record<"etcd" | "apiServer" | "controllerManager" | "scheduler" | "gatewayCrds", string> {
  const dir = partDirectory(kubernetesPart);
  const [apiServer, controllerManager, scheduler] = PROGRAMS.map((name) => join(dir, name)) as [string, string, string];
  return { etcd: join(dir, "etcd"), apiServer, controllerManager, scheduler, gatewayCrds: join(dir, "gateway-api") };
}
