// `npm run test:real [-- --only NAME[,NAME…]]`: fetches the outside systems that Nightshift talks to, then runs the tests that start them.
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ROOT } from "./setup.mjs";
import { runSteps } from "./steps.mjs";

const TESTS = join(ROOT, "test", "real");
/** Parts that a folder of tests starts, where that is not just the part of its own name. */
const PARTS = { collector: ["otelcol", "kafka", "postgres"] };

const { values } = parseArgs({ options: { only: { type: "string", multiple: true, default: [] } } });
const only = values.only.flatMap((names) => names.split(",")).filter((name) => name !== "");
const known = readdirSync(TESTS).filter((name) => name in PARTS || existsSync(join(TESTS, "parts", `${name}.ts`)));
const unknown = only.filter((name) => !known.includes(name));
if (unknown.length > 0) {
  process.stderr.write(`--only ${unknown.join(",")}: there is no such part\n  fix: use one of ${known.join(", ")}\n`);
  process.exit(2);
}

const wanted = [...new Set(only.flatMap((name) => PARTS[name] ?? [name]))];
const parts = { name: "parts", command: ["node", "test/real/fetch.ts", ...wanted], verbose: true, isNeededByNext: true };
const tests = {
  name: "tests on real parts",
  command: [
    "vitest",
    "run",
    "--config",
    "vitest.real.config.ts",
    "--reporter=default",
    "--reporter=json",
    ...only.map((name) => `test/real/${name}/`),
  ],
  report: "vitest",
  verbose: true,
};
await runSteps([[parts, tests]]);
