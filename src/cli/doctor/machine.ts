import { accessSync, constants, existsSync, statfsSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, resolve } from "node:path";
import type { Config } from "../../config.ts";
import { bindingOf } from "../../config-api.ts";
import { probePython } from "../python.ts";
import { bad, ok, warn, type Finding } from "./finding.ts";

const GIB = 1024 ** 3;
/** Below the first nothing is captured for long; below the second a night of a small model may not fit. */
const LEAST_FREE_BYTES = 1 * GIB;
const COMFORTABLE_FREE_BYTES = 10 * GIB;

/** What the machine offers: the data directory and its disk, Python, and (where nothing of ours runs) the ports. */
export async function checkMachine(config: Config, options: { isRunning: boolean }): Promise<Finding[]> {
  const ports = options.isRunning ? [ok("ports", "held by the Nightshift that answers")] : await checkPorts(config);
  return [checkDataDir(config), ...(needsPython(config) ? [await checkPython(config)] : []), ...ports];
}

function checkDataDir(config: Config): Finding {
  const dir = resolve(config.dataDir);
  let existing = dir;
  while (!existsSync(existing)) existing = dirname(existing);
  try {
    accessSync(existing, constants.W_OK);
  } catch {
    return bad("data directory", `${existing} cannot be written`, "Set dataDir to a directory that this user may write.");
  }
  const { bavail, bsize } = statfsSync(existing);
  const free = bavail * bsize;
  const told = `${dir}, ${(free / GIB).toFixed(1)} GiB free`;
  const fix = "Free disk space, or move dataDir to a larger volume.";
  if (free < LEAST_FREE_BYTES) return bad("data directory", told, fix);
  return free < COMFORTABLE_FREE_BYTES ? warn("data directory", told, fix) : ok("data directory", told);
}

/** For the trainer as a child, and for policy servers of our own. */
function needsPython({ training, agents }: Config): boolean {
  return (
    training.jobRunner.driver === "local" ||
    Object.values(agents).some(({ policyServers }) => Array.isArray(policyServers) && policyServers.length === 0)
  );
}

async function checkPython(config: Config): Promise<Finding> {
  const python = resolve(config.python);
  const fix = "`npm run quickstart` prepares .venv; or point `python` at one that has trainer/requirements.txt.";
  const probe = await probePython(python);
  if (probe.status === "unusable") return bad("python", `${python}: ${probe.problem}`, fix);
  const packages = Object.entries(probe.packages);
  const missing = packages.filter(([, version]) => version === null).map(([name]) => name);
  if (missing.length > 0) return bad("python", `${python} lacks ${missing.join(", ")}`, fix);
  return ok("python", `${probe.version}, ${packages.map(([name, version]) => `${name} ${version}`).join(", ")}`);
}

function checkPorts(config: Config): Promise<Finding[]> {
  const listeners = { collector: config.collector, gateway: config.gateway, api: config.api };
  return Promise.all(
    Object.entries(listeners).map(async ([name, { host, port }]) => {
      const check = `${name} port`;
      if (port === 0) return ok(check, "any free one");
      const problem = await tryToListen(host, port);
      if (problem === null) return ok(check, `${host}:${port} is free`);
      return bad(check, `${host}:${port}: ${problem}`, `Stop what listens there, or set ${name}.port to another.`);
    }),
  );
}

function tryToListen(host: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code === "EADDRINUSE" ? "the port is taken" : error.message));
    const { hostname } = bindingOf({ host, port });
    server.listen(hostname === undefined ? { port } : { port, host: hostname }, () => server.close(() => resolve(null)));
  });
}
