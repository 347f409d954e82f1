import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { runTool } from "../../real/parts/part.ts";
import { freePort } from "../../real/parts/process.ts";
import { fetched, FIX, pythonPackage } from "../fetched.ts";

/** What the gateway is measured against, in the cache folder only. */
export const PORTKEY_VERSION = "1.15.2";
/** As its own lock file and image have them: with the newest that its package allows, it answers every stream with 500. */
const PORTKEY_HONO = { "@hono/node-server": "1.13.5", hono: "4.9.7" };
/** Nothing newer than the day is installed, so that what it depends on stays the same too. */
export const LITELLM_VERSION = "1.105.0";
const LITELLM_DAY = "2026-10-15";

/** How a gateway is started and called. */
export interface Subject {
  name: string;
  version: string;
  command: string;
  args: readonly string[];
  env: Record<string, string>;
  port: number;
  readyLine: RegExp;
  /** Headers that its callers must send. */
  headers: Readonly<Record<string, string>>;
}

/** Portkey's gateway as its package starts it, without its console page. */
export async function portkey(upstream: string): Promise<Subject> {
  const dir = await fetched(`portkey-${PORTKEY_VERSION}`, async (dir) => {
    writeFileSync(
      join(dir, "package.json"),
      JSON.stringify({ private: true, dependencies: { "@portkey-ai/gateway": PORTKEY_VERSION }, overrides: PORTKEY_HONO }),
    );
    const args = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
    await runTool("npm", args, { cwd: dir, problem: "Portkey's gateway cannot be installed", fix: FIX });
  });
  const port = await freePort();
  return {
    name: "portkey",
    version: PORTKEY_VERSION,
    command: process.execPath,
    args: [join(dir, "node_modules/@portkey-ai/gateway/build/start-server.js"), "--headless", `--port=${port}`],
    env: { NODE_ENV: "production", TRUSTED_CUSTOM_HOSTS: "127.0.0.1,localhost" },
    port,
    readyLine: /running|Ready/i,
    headers: { "x-portkey-provider": "openai", "x-portkey-custom-host": `${upstream}/v1` },
  };
}

/** LiteLLM's proxy with one worker, as its own page on production settings advises: no debug output, no database. */
export async function litellm(upstream: string): Promise<Subject> {
  const binaries = await pythonPackage({ name: "litellm", version: LITELLM_VERSION, extras: "[proxy]", day: LITELLM_DAY });
  const port = await freePort();
  // It refuses to start without one.
  const key = `sk-${randomBytes(24).toString("hex")}`;
  const file = join(dirname(dirname(binaries)), "config.yaml");
  const model = { model_name: "shop-model", litellm_params: { model: "openai/shop-model", api_base: `${upstream}/v1`, api_key: "none" } };
  // JSON is YAML.
  writeFileSync(file, JSON.stringify({ model_list: [model], litellm_settings: { set_verbose: false, request_timeout: 60 } }));
  return {
    name: "litellm",
    version: LITELLM_VERSION,
    command: join(binaries, "litellm"),
    args: ["--config", file, "--host", "127.0.0.1", "--port", String(port), "--num_workers", "1", "--telemetry", "False"],
    env: {
      LITELLM_MASTER_KEY: key,
      LITELLM_MODE: "PRODUCTION",
      LITELLM_LOG: "ERROR",
      LITELLM_LOCAL_MODEL_COST_MAP: "True",
      NO_PROXY: "127.0.0.1",
    },
    port,
    readyLine: /Proxy initialized/,
    headers: { authorization: `Bearer ${key}` },
  };
}
