import { execFile, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, readFile, rename, rm } from "node:fs/promises";
import { createInterface } from "node:readline";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import type { PolicyServerUnderTest } from "../conformance/policy-server-http.ts";

const root = resolve(import.meta.dirname, "../..");
const python = join(root, ".venv/bin/python");
const env = { ...process.env, OMP_NUM_THREADS: "1" };
const trainer = join(root, "trainer");

interface TinyModel {
  model: string;
  adapters: PolicyServerUnderTest["adapters"] & { misnamed: string };
}

/** A tiny model with adapters, made once per checkout: `trainer/tests/tiny_model.py` writes the same bytes every time. */
export async function tinyModel(): Promise<TinyModel> {
  const source = await readFile(join(trainer, "tests/tiny_model.py"));
  const name = Buffer.from(await crypto.subtle.digest("SHA-256", source))
    .toString("hex")
    .slice(0, 16);
  const directory = join(root, ".cache", `tiny-model-${name}`);
  if (!existsSync(directory)) {
    const aside = `${directory}.${randomUUID()}`;
    await mkdir(aside, { recursive: true });
    await promisify(execFile)(python, ["-m", "tests.tiny_model", aside], { cwd: trainer, env });
    // Another worker, or a server beside this one, may have been faster: its directory is as good.
    await rename(aside, directory).catch(async () => await rm(aside, { recursive: true, force: true }));
  }
  const manifest = JSON.parse(await readFile(join(directory, "manifest.json"), "utf8")) as TinyModel;
  const moved = Object.entries(manifest.adapters).map(([kind]) => [kind, join(directory, "adapters", kind)]);
  return { model: join(directory, "model"), adapters: Object.fromEntries(moved) as TinyModel["adapters"] };
}

/** The embedded server over the tiny model, or another of its kind; ends with its standard input. */
export async function startTinyServer(
  options: { model?: string; port?: number } = {},
): Promise<PolicyServerUnderTest & { adapters: TinyModel["adapters"] }> {
  const { model: tiny, adapters } = await tinyModel();
  const { model = tiny, port = 0 } = options;
  const flags = [
    "--model",
    model,
    "--served-model-name",
    "base",
    "--port",
    `${port}`,
    "--max-model-len",
    "256",
    "--slots",
    "16",
    "--exit-with-stdin",
  ];
  const child = spawn(python, ["-m", "nightshift_trainer.serve", ...flags], { cwd: trainer, env, stdio: ["pipe", "pipe", "pipe"] });
  let log = "";
  child.stderr.on("data", (chunk: Buffer) => (log = (log + chunk.toString()).slice(-4_000)));
  const closed = once(child, "close");
  const line = await Promise.race([once(createInterface({ input: child.stdout }), "line"), closed.then(() => null)]);
  if (line === null) throw new Error(`the embedded server ended before it was ready: ${log}`);
  const ready = JSON.parse(String(line[0])) as { event: string; port: number };
  return {
    baseUrl: `http://127.0.0.1:${ready.port}`,
    model: "base",
    adapters,
    async stop() {
      child.stdin.end();
      await closed;
    },
  };
}
