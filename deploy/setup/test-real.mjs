// `npm run test:real [-- --only NAME[,NAME…]]`: fetches the outside systems that Nightshift talks to, then runs the tests that start them.
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
};
/** Three parts are compiled, for minutes: beside tests that mostly wait for their servers. vLLM takes both cores. */
const STAGES = [[["kafka"], ["postgres"], ["s3", "collector", "observe"]], [["vllm", "together"]]];
const COMPILED = ["otelcol", "s3", "prometheus"];

const { values } = parseArgs({ options: { only: { type: "string", multiple: true, default: [] } } });
const only = values.only.flatMap((names) => names.split(",")).filter((name) => name !== "");
const unknown = only.filter((name) => !(name in PARTS));
if (unknown.length > 0) {
  process.stderr.write(`--only ${unknown.join(",")}: there is no such part\n  fix: use one of ${Object.keys(PARTS).join(", ")}\n`);
  process.exit(2);
}

const isWanted = (folder) => only.length === 0 || only.includes(folder);
const partsOf = (folders) => [...new Set(folders.flatMap((folder) => PARTS[folder]))];

function fetchStep(parts) {
  const command = ["node", "test/real/fetch.ts", ...parts];
  return { name: `parts ${parts.join(" ")}`, command, verbose: true, isNeededByNext: true };
}

function testStep(folders) {
  const paths = folders.map((folder) => `test/real/${folder}/`);
  const command = ["vitest", "run", "--config", "vitest.real.config.ts", "--reporter=default", "--reporter=json", ...paths];
  return { name: `tests on real ${folders.join(" ")}`, command, report: "vitest", verbose: true };
}

/** The steps of one lane; none when nothing in it is wanted. */
function laneOf(folders) {
  const wanted = folders.filter(isWanted);
  const compiled = partsOf(wanted).filter((part) => COMPILED.includes(part));
  return [...(compiled.length > 0 ? [fetchStep(compiled)] : []), ...(wanted.length > 0 ? [testStep(wanted)] : [])];
}

const fetched = partsOf(Object.keys(PARTS).filter(isWanted)).filter((part) => !COMPILED.includes(part));
const fetches = fetched.length > 0 ? [[[fetchStep(fetched)]]] : [];
await runSteps(...fetches, ...STAGES.map((lanes) => lanes.map(laneOf)));
