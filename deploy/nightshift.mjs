#!/usr/bin/env node
// The `nightshift` command. Works on Node 20 by starting the Node that the package brought; a newer Node runs the command itself.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const built = path("../dist/src/cli/main.js");
const entry = existsSync(built) ? built : path("../src/cli/main.ts");
const major = Number(process.versions.node.split(".")[0]);
const bundled = path("../node_modules/.bin/node");
const node = major >= 24 || !existsSync(bundled) ? process.execPath : bundled;
if (major < 24 && node === process.execPath) {
  process.stderr.write(
    `nightshift needs Node 24 or newer; this is ${process.versions.node}\n  fix: install Node 24, or run npm ci so that the packaged one is there\n`,
  );
  process.exit(2);
}
// Kept where it can be: a start takes half as long.
const env = { NODE_COMPILE_CACHE: path("../.cache/compile"), ...process.env };
const child = spawn(node, ["--disable-warning=ExperimentalWarning", entry, ...process.argv.slice(2)], { stdio: "inherit", env });
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
child.on("close", (code, signal) => process.exit(code ?? (signal === "SIGINT" ? 130 : 143)));
