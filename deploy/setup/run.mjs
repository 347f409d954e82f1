// Runs a TypeScript file of this repository with the Node that the packages brought: `node deploy/setup/run.mjs FILE [ARGS]`.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { ROOT, SetupError, ensureSetup, nodeBin, nodeEnvironment } from "./setup.mjs";

/** Resolves to the exit code. Signals reach the child, which decides how it stops. */
export function runTypeScript(file, args) {
  const child = spawn(join(nodeBin(), "node"), ["--disable-warning=ExperimentalWarning", join(ROOT, file), ...args], {
    stdio: "inherit",
    env: nodeEnvironment(),
  });
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
  return new Promise((resolve) => {
    child.on("close", (code, signal) => resolve(code ?? (signal === "SIGINT" ? 130 : 143)));
  });
}

/** Prepares, runs, and turns a set-up problem into one line and exit code 2. */
export async function main(file, args, needs = {}) {
  try {
    await ensureSetup(needs);
    process.exitCode = await runTypeScript(file, args);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 2;
  }
}

if (process.argv[1]?.endsWith("run.mjs")) await main(process.argv[2], process.argv.slice(3));
