import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { runGo } from "./go.ts";
import { partDirectory, runTool, type Part } from "./part.ts";
import { freePort, startPartProcess } from "./process.ts";

/** Prometheus 3.16: its module is numbered 0.316. */
const VERSION = "3.16.0";
const MODULE = "github.com/prometheus/prometheus@v0.316.0";
/** Of its ways to find targets only files and fixed lists: the others bring the clients of every cloud. */
const TAGS = "remove_all_sd,enable_dns_sd";
const PROBLEM = "Prometheus cannot be built";

/** Prometheus and promtool, from source with the versions of its own go.mod, which a plain `go install` would not keep to. */
export const prometheusPart: Part = {
  name: "prometheus",
  version: VERSION,
  sizeMb: 250,
  async fetch(dir, say) {
    const fix = "install Go 1.25 or newer, check the network and the free disk space (3 GB), then run the command again";
    const options = { cwd: dir, bin: dir, problem: PROBLEM, fix };
    say(`the modules of ${MODULE}`);
    const { Dir: source } = z.object({ Dir: z.string() }).parse(JSON.parse(await runGo(["mod", "download", "-json", MODULE], options)));
    const build = join(dir, "build");
    cpSync(source, build, { recursive: true });
    say(`compiling on ${availableParallelism()} cores`);
    const compile = ["build", "-ldflags=-s -w", "-tags", TAGS, "-o", dir, "./cmd/promtool", "./cmd/prometheus"];
    await runGo(compile, { ...options, cwd: build });
    rmSync(build, { recursive: true });
  },
};

/** Runs promtool to its end. Rejects with what it said when it finds fault. */
export function promtool(args: readonly string[], cwd?: string): Promise<string> {
  const where = cwd === undefined ? {} : { cwd };
  const said = { problem: "promtool found fault", fix: "read what it says" };
  return runTool(join(partDirectory(prometheusPart), "promtool"), args, { ...where, ...said });
}

/** A running Prometheus. */
export interface PrometheusServer {
  /** Where it takes OTLP/HTTP. */
  readonly otlpUrl: string;
  /** `GET` of its API, `/api/v1/…`: the `data` of the answer. */
  get(path: string, query?: Readonly<Record<string, string>>): Promise<unknown>;
  close(): Promise<void>;
}

/** Starts it on a free port of loopback, with an empty store, every second asking `targets` (`host:port`) and evaluating `rules`. */
export async function startPrometheus(options: { targets: readonly string[]; rules: string }): Promise<PrometheusServer> {
  const home = mkdtempSync(join(tmpdir(), "nightshift-prometheus-"));
  const port = await freePort();
  const config = join(home, "prometheus.json");
  // JSON is YAML.
  const tree = {
    global: { scrape_interval: "1s", evaluation_interval: "1s" },
    rule_files: [options.rules],
    scrape_configs: [{ job_name: "nightshift", static_configs: [{ targets: options.targets }] }],
  };
  writeFileSync(config, JSON.stringify(tree));
  mkdirSync(join(home, "data"));
  const server = await startPartProcess(
    join(partDirectory(prometheusPart), "prometheus"),
    [
      `--config.file=${config}`,
      `--storage.tsdb.path=${join(home, "data")}`,
      `--web.listen-address=127.0.0.1:${port}`,
      "--web.enable-otlp-receiver",
    ],
    { readyLine: /Server is ready to receive web requests/, limitMs: 30_000 },
  );
  const url = `http://127.0.0.1:${port}`;
  return {
    otlpUrl: `${url}/api/v1/otlp`,
    async get(path, query = {}) {
      const response = await fetch(`${url}/api/v1/${path}?${new URLSearchParams(query).toString()}`);
      const text = await response.text();
      if (!response.ok) throw new Error(`${path} answered ${response.status}: ${text.slice(0, 500)}`);
      return (JSON.parse(text) as { data: unknown }).data;
    },
    async close() {
      await server.stop();
      rmSync(home, { recursive: true, force: true });
    },
  };
}
