// What `npm run check` and `npm test` run, one line each while it goes, output only where something failed, counts at the end.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, relative } from "node:path";
import { ROOT, SetupError, ensureSetup, nodeEnvironment } from "./setup.mjs";

const PYTHON = join(ROOT, ".venv", "bin");
const REPORTS = join(ROOT, ".cache", "reports");
const NAMED_FAILURES = 12;
/** Of one failure's message: vitest's goes on with the differing lines, which say most. */
const FAILURE_CHARS = 600;

/** All of these keep one core busy; the unit tests, which wait a good deal, run beside them. A step without a report counts as one test. */
const ONE_CORE = [
  { name: "format", command: ["oxfmt", "--check", "."] },
  { name: "lint", command: ["oxlint", "--type-aware", "--deny-warnings"] },
  { name: "types", command: ["tsc", "--noEmit", "-p", ".", "--incremental", "--tsBuildInfoFile", ".cache/types.tsbuildinfo"] },
  { name: "dead code", command: ["knip", "--no-progress"] },
  {
    name: "ruff",
    command: [join(PYTHON, "ruff"), "check", "--config", "trainer/pyproject.toml", "trainer", "deploy", "test"],
    python: true,
  },
  {
    name: "ruff format",
    command: [join(PYTHON, "ruff"), "format", "--check", "--config", "trainer/pyproject.toml", "trainer", "deploy", "test"],
    python: true,
  },
  { name: "pyright", command: [join(PYTHON, "pyright"), "-p", "trainer"], python: true },
  { name: "trainer tests", command: [join(PYTHON, "pytest"), "-q", "trainer"], python: true, report: "pytest" },
];

const UNIT = [
  {
    name: "unit and conformance tests",
    command: ["vitest", "run", "--reporter=dot", "--reporter=json", `--maxWorkers=${Math.min(4, availableParallelism())}`],
    report: "vitest",
  },
];

/** Lanes that run side by side, each a list of steps in order. */
export const CHECK = [ONE_CORE, UNIT];

const LOOPS = [
  {
    name: "end to end",
    command: ["vitest", "run", "--config", "vitest.e2e.config.ts", "--reporter=default", "--reporter=json"],
    report: "vitest",
    verbose: true,
  },
];

/** One lane, since these tests start processes and a step that is `verbose` prints as it goes. */
export const END_TO_END = [LOOPS];

/** Runs one set of lanes after the other, all steps even after a failure, unless it says that the next ones need it; exit code 1 when one failed. */
export async function runSteps(...stages) {
  try {
    await ensureSetup({ python: true, sdks: true });
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(2);
  }
  rmSync(REPORTS, { recursive: true, force: true });
  mkdirSync(REPORTS, { recursive: true });
  const total = { passed: 0, failed: 0 };
  const failures = [];
  let isOver = false;
  for (const lanes of stages) {
    if (isOver) break;
    await Promise.all(
      lanes.map(async (steps) => {
        for (const step of steps) {
          const { passed, failed, failures: named } = await runStep(step);
          total.passed += passed;
          total.failed += failed;
          failures.push(...named);
          if (failed === 0 || !step.isNeededByNext) continue;
          isOver = true;
          break;
        }
      }),
    );
  }
  // Again at the end, where whoever sees only the last lines finds them.
  for (const line of failures.slice(0, NAMED_FAILURES)) process.stdout.write(`${line}\n`);
  process.stdout.write(`${total.passed} passed, ${total.failed} failed\n`);
  process.exitCode = total.failed === 0 ? 0 : 1;
}

/** One write when it has ended, so that steps beside each other never mix their lines. */
async function runStep(step) {
  const started = Date.now();
  const report = join(REPORTS, step.name.replaceAll(" ", "-"));
  const { code, output } = await execute(step, report);
  const counts = countsOf(step, report, code);
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  const line = `${counts.failed === 0 ? "ok  " : "FAIL"} ${step.name} (${counts.passed} passed, ${counts.failed} failed, ${seconds} s)\n`;
  process.stdout.write(counts.failed > 0 && !step.verbose ? `${line}${output}\n` : line);
  return counts;
}

function execute(step, report) {
  const extra = step.report === "vitest" ? [`--outputFile.json=${report}`] : step.report === "pytest" ? [`--junitxml=${report}`] : [];
  const [command, ...args] = [...step.command, ...extra];
  const child = spawn(command, args, {
    cwd: ROOT,
    env: { ...nodeEnvironment(), FORCE_COLOR: "0", OMP_NUM_THREADS: "1" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk) => {
      if (step.verbose) process.stdout.write(chunk);
      output += chunk;
    });
  }
  return new Promise((resolve) => {
    child.on("error", (error) => resolve({ code: 1, output: String(error) }));
    child.on("close", (code) => resolve({ code: code ?? 1, output }));
  });
}

/** A runner that failed without a failed test (a crash, no test found) counts as one failure. `failures`: one text for each that has a name. */
function countsOf(step, report, code) {
  const counts = readReport(step.report, report);
  const itself = [`FAIL ${step.name}`];
  if (counts === null) return code === 0 ? { passed: 1, failed: 0, failures: [] } : { passed: 0, failed: 1, failures: itself };
  return code !== 0 && counts.failed === 0 ? { ...counts, failed: 1, failures: itself } : counts;
}

function readReport(kind, file) {
  if (kind === undefined || !existsSync(file)) return null;
  const text = readFileSync(file, "utf8");
  if (kind === "vitest") {
    const { numPassedTests, numFailedTests, testResults } = JSON.parse(text);
    return { passed: numPassedTests, failed: numFailedTests, failures: testResults.flatMap(failuresOf) };
  }
  const attribute = (name) => Number(new RegExp(`<testsuite [^>]*\\b${name}="(\\d+)"`).exec(text)?.[1] ?? 0);
  const failed = attribute("failures") + attribute("errors");
  const names = [...text.matchAll(/<testcase [^>]*\bname="([^"]*)"[^>]*><(?:failure|error) message="([^"]*)"/g)];
  const failures = names.map(([, name, message]) => `FAIL ${name}: ${message.slice(0, FAILURE_CHARS)}`);
  return { passed: attribute("tests") - failed - attribute("skipped"), failed, failures };
}

/** Of one file's tests, as vitest reports them; of the file itself, where it ended before them. */
function failuresOf({ name, message, assertionResults }) {
  const file = relative(ROOT, name);
  const failed = assertionResults.filter(({ status }) => status === "failed");
  if (failed.length === 0 && message !== "") return [`FAIL ${file}: ${shortened(message)}`];
  return failed.map(({ fullName, failureMessages }) => `FAIL ${file} > ${fullName}: ${failureMessages.map(shortened).join("; ")}`);
}

/** Without the stack, and where it points to only. */
function shortened(message) {
  const [text = "", ...stack] = message.split(/\n\s+at /);
  const place = stack.map((line) => /\/(test\/[^)]*:\d+):\d+\)?$/.exec(line)?.[1]).find((line) => line !== undefined);
  return `${text.slice(0, FAILURE_CHARS)}${place === undefined ? "" : ` (${place})`}`;
}
