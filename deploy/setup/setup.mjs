// Makes a bare checkout ready: Node packages, then the trainer's Python environment. Plain JavaScript for Node 20 and no dependency,
// because it runs before anything is installed. An interrupted set-up starts again where it stopped: each part has a marker written last.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const UV = "uv==0.13.9";
/** Packages of their own, so that what is only recorded stays out of the product's packages. */
const SDKS = ["test/fixtures/otlp/sdk", "test/fixtures/otlp/sdk/otel-2"];
const NODE_MIB = 600;
const SDKS_MIB = 400;
const PYTHON_MIB = 5_600;

/** A set-up problem that the user can mend: printed as one line with its fix, exit code 2. */
export class SetupError extends Error {
  constructor(problem, fix) {
    super(`${problem}\n  fix: ${fix}`);
  }
}

/** @param {{ python?: boolean, sdks?: boolean }} needs Whether the Python environment, or the SDKs that tests record, are needed too. */
export async function ensureSetup(needs) {
  const major = Number(process.versions.node.split(".")[0]);
  if (major < 20) throw new SetupError(`Node ${process.versions.node} is too old`, "install Node 20 or newer");
  await ensureNodePackages();
  if (needs.sdks) for (const folder of SDKS) await ensureSdks(folder);
  if (needs.python) await ensurePython();
}

/** What Node programs of this repository find in their environment. Compiled code is kept, which halves what each start of a program takes. */
export function nodeEnvironment() {
  return {
    NODE_COMPILE_CACHE: join(ROOT, ".cache", "compile"),
    ...process.env,
    PATH: `${nodeBin()}${delimiter}${process.env.PATH}`,
  };
}

/** Directory of the Node 24 that the packages brought, to be put first on PATH. */
export function nodeBin() {
  return join(ROOT, "node_modules", ".bin");
}

async function ensureNodePackages() {
  const marker = join(ROOT, "node_modules", ".nightshift-setup");
  const wanted = hashOf("package-lock.json");
  if (isMarked(marker, wanted)) return;
  checkDisk(NODE_MIB, "Node packages");
  say(`set-up: Node packages (about ${NODE_MIB} MiB on disk)`);
  await run(
    "npm",
    ["install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"],
    "installing the Node packages failed",
    "check the network and run the command again",
  );
  writeFileSync(marker, wanted);
}

/** @param {string} folder */
async function ensureSdks(folder) {
  const marker = join(ROOT, folder, "node_modules", ".nightshift-setup");
  const wanted = hashOf(`${folder}/package-lock.json`);
  if (isMarked(marker, wanted)) return;
  checkDisk(SDKS_MIB, "the recorded SDKs");
  say(`set-up: SDKs whose telemetry the tests record (about ${SDKS_MIB} MiB on disk)`);
  await run(
    "npm",
    ["ci", "--prefix", folder, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
    "installing the recorded SDKs failed",
    "check the network and run the command again",
  );
  writeFileSync(marker, wanted);
}

async function ensurePython() {
  const environment = join(ROOT, ".venv");
  const marker = join(environment, ".nightshift-setup");
  const wanted = hashOf("trainer/requirements.txt");
  if (isMarked(marker, wanted)) return;
  const python = findPython();
  checkDisk(PYTHON_MIB, "the Python environment");
  say(`set-up: Python environment (about ${PYTHON_MIB / 1000} GB on disk, most of it PyTorch; a minute on a fast network)`);
  if (!existsSync(join(environment, "bin", "python"))) {
    rmSync(environment, { recursive: true, force: true });
    await run(
      python,
      ["-m", "venv", environment],
      "making the Python environment failed",
      "install the venv module (Debian: python3-venv)",
    );
  }
  const inside = join(environment, "bin", "python");
  // uv lives beside the environment: `uv pip sync` removes everything from it that the requirements do not name.
  const tools = join(ROOT, ".cache", "uv");
  if (!existsSync(join(tools, "bin", "uv"))) {
    mkdirSync(tools, { recursive: true });
    await run(
      inside,
      ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", tools, UV],
      "installing uv failed",
      "check the network and run the command again",
    );
  }
  await run(
    join(tools, "bin", "uv"),
    ["pip", "sync", "--quiet", "--compile-bytecode", "--python", inside, "trainer/requirements.txt"],
    "installing the Python packages failed",
    "check the network and the free disk space, then run the command again",
  );
  writeFileSync(marker, wanted);
}

function findPython() {
  for (const name of ["python3.13", "python3.12", "python3.11", "python3", "python"]) {
    const found = spawnSync(name, ["-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"], { encoding: "utf8" });
    if (found.status !== 0) continue;
    const [major, minor] = found.stdout.trim().split(".").map(Number);
    if (major === 3 && minor >= 11 && minor <= 13) return name;
  }
  throw new SetupError(
    "no Python 3.11, 3.12 or 3.13 with the venv module was found on PATH",
    "install Python 3.11 or newer (Debian: python3 and python3-venv)",
  );
}

function checkDisk(neededMiB, what) {
  const { bavail, bsize } = statfsSync(ROOT);
  const freeMiB = Math.floor((bavail * bsize) / 1024 / 1024);
  if (freeMiB < neededMiB)
    throw new SetupError(
      `${what} need ${neededMiB} MiB, ${freeMiB} MiB are free below ${ROOT}`,
      "free disk space and run the command again",
    );
}

function hashOf(file) {
  return createHash("sha256")
    .update(readFileSync(join(ROOT, file)))
    .digest("hex");
}

function isMarked(marker, wanted) {
  return existsSync(marker) && readFileSync(marker, "utf8") === wanted;
}

function say(line) {
  process.stderr.write(`${line}\n`);
}

function run(command, args, problem, fix) {
  const started = Date.now();
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: ROOT, stdio: ["ignore", "inherit", "inherit"] });
    // Progress for the silent installers: one line every ten seconds.
    const ticker = setInterval(() => say(`  … ${Math.round((Date.now() - started) / 1000)} s`), 10_000);
    child.on("error", () => {
      clearInterval(ticker);
      reject(new SetupError(`${problem}: ${command} could not be started`, fix));
    });
    child.on("close", (code) => {
      clearInterval(ticker);
      if (code === 0) resolve(undefined);
      else reject(new SetupError(`${problem} (exit code ${code})`, fix));
    });
  });
}
