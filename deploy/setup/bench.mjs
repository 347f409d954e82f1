// `npm run bench -- NAME [ARGS]` measures one thing: prints a table and, as the last line, its JSON.
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { main } from "./run.mjs";
import { ROOT } from "./setup.mjs";

const BENCHES = join(ROOT, "test", "bench");

const [name = "", ...args] = process.argv.slice(2);
const known = readdirSync(BENCHES).filter((each) => existsSync(join(BENCHES, each, "bench.ts")));
if (known.includes(name)) {
  // Partners are installed with the uv that set-up keeps.
  await main(`test/bench/${name}/bench.ts`, args, { python: ["gateway", "ruler", "trainer"].includes(name) });
} else {
  process.stderr.write(`${name === "" ? "which bench?" : `${name}: there is no such bench`}\n  fix: use one of ${known.join(", ")}\n`);
  process.exitCode = 2;
}
