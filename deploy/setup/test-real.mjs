// `npm run test:real [-- --only NAME[,NAME…]]`: fetches the outside systems that Nightshift talks to, then runs the tests that start them.
import { spawnSync } from "node:child_process";
import { parseArgs } from "node:util";
import { runSteps } from "./steps.mjs";

/** Folders below test/real, and the parts that their tests start. */
const PARTS = {
  kafka: ["kafka"],
  postgres: ["postgres"],
  s3: ["s3"],
  collector: ["otelcol", "kafka", "postgres"],
  observe: ["prometheus", "kafka", "postgres"],
  vllm: ["vllm"],
  together: ["kafka", "postgres", "vllm"],
  kubernetes: ["kubernetes", "helm", "inference-extension", "postgres", "s3"],
  story: ["kubernetes", "helm", "kafka", "postgres", "vllm"],
};
/** Four parts are compiled, for minutes: beside tests that mostly wait for their servers. vLLM takes both cores. */
const STAGES = [[["kafka"], ["postgres"], ["s3", "collector", "observe"]], [["vllm", "together"]], [["kubernetes"]], [["story"]]];
const COMPILED = ["otelcol", "s3", "prometheus", "kubernetes"];
/** What starts the tests of a folder: pods have a network of their own, which none of the machine's addresses is in and nothing leads out of. */
const ENTER = { kubernetes: ["unshare", "--net", "--mount"], story: ["unshare", "--net", "--mount"] };

const { values } = parseArgs({ options: { only: { type: "string", multiple: true, default: [] } } });
const only = values.only.flatMap((names) => names.split(",")).filter((name) => name !== "");
const unknown = only.filter((name) => !(name in PARTS));
if (unknown.length > 0) {
  process.stderr.write(`--only ${unknown.join(",")}: there is no such part\n  fix: use one of ${Object.keys(PARTS).join(", ")}\n`);
  process.exit(2);
}

const closed = only.length > 0 ? [] : Object.keys(ENTER).filter((folder) => !mayEnter(ENTER[folder]));
for (const folder of closed) {
  process.stdout.write(`left out: ${folder} (no bridge, or no overlay, may be made here; \`--only ${folder}\` shows what refuses)\n`);
}
const isWanted = (folder) => (only.length === 0 ? !closed.includes(folder) : only.includes(folder));
const partsOf = (folders) => [...new Set(folders.flatMap((folder) => PARTS[folder]))];

/** Whether this machine lets us make what pods are made of: a bridge between networks, and an overlay over the machine's own files. */
function mayEnter([command, ...flags]) {
  const overlay =
    "mount -t tmpfs tmpfs /tmp && cd /tmp && mkdir upper work merged && mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work merged";
  return spawnSync(command, [...flags, "sh", "-c", `ip link add name probe0 type bridge && ${overlay}`]).status === 0;
}

function fetchStep(parts) {
  const command = ["node", "test/real/fetch.ts", ...parts];
  return { name: `parts ${parts.join(" ")}`, command, verbose: true, isNeededByNext: true };
}

function testStep(folders) {
  const paths = folders.map((folder) => `test/real/${folder}/`);
  const enter = folders.flatMap((folder) => ENTER[folder] ?? []);
  const command = [...enter, "vitest", "run", "--config", "vitest.real.config.ts", "--reporter=default", "--reporter=json", ...paths];
  return { name: `tests on real ${folders.join(" ")}`, command, report: "vitest", verbose: true };
}

/** The steps of one lane; none when nothing in it is wanted. */
function laneOf(folders) {
  const wanted = folders.filter(isWanted);
  return [...compileSteps(wanted), ...(wanted.length > 0 ? [testStep(wanted)] : [])];
}

function compileSteps(folders) {
  const compiled = partsOf(folders).filter((part) => COMPILED.includes(part));
  return compiled.length > 0 ? [fetchStep(compiled)] : [];
}

const fetched = partsOf(Object.keys(PARTS).filter(isWanted)).filter((part) => !COMPILED.includes(part));
const fetches = fetched.length > 0 ? [[[fetchStep(fetched)]]] : [];
const [early = [], ...late] = STAGES.map((lanes) => lanes.map(laneOf));
// Compiled beside the first tests, after what those of the same lane need; by its turn it is in the cache.
early.at(-1)?.push(...compileSteps(["kubernetes"].filter(isWanted)));
await runSteps(...fetches, early, ...late);
