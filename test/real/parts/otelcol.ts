import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { goEnvironment, runGo } from "./go.ts";
import { PartError, partDirectory, runTool, type Part } from "./part.ts";
import { freePort, startPartProcess } from "./process.ts";

const FOLDER = resolve(import.meta.dirname, "../../../collector/otelcol");
const MANIFEST = join(FOLDER, "builder.yaml");
const VERSION = "0.158.0";
const BUILDER = `go.opentelemetry.io/collector/cmd/builder@v${VERSION}`;
/** The Go that the components of the manifest ask for. */
const GO = { major: 1, minor: 25 };
const GO_FIX = `install Go ${GO.major}.${GO.minor} or newer and put it into PATH`;

/** The stock OpenTelemetry Collector of `collector/otelcol/builder.yaml`. */
export const otelcolPart = collectorOf(MANIFEST);

/** A stock OpenTelemetry Collector, built from source from a builder's manifest: another manifest is another build. */
export function collectorOf(manifest: string): Part {
  return {
    name: "otelcol",
    version: `${VERSION}-${createHash("sha256").update(readFileSync(manifest)).digest("hex").slice(0, 8)}`,
    sizeMb: 55,
    async fetch(dir, say) {
      await requireGo();
      const build = join(dir, "build");
      mkdirSync(build);
      const fix = "check the network and the free disk space (3 GB), then run the command again";
      say(`the Collector's builder (${BUILDER})`);
      await runGo(["install", BUILDER], { cwd: dir, bin: dir, problem: "the Collector's builder cannot be installed", fix });
      say("the modules of its components");
      const generated = { cwd: build, env: goEnvironment(dir), problem: "the Collector's modules cannot be fetched", fix };
      await runTool(join(dir, "builder"), ["--config", manifest, "--skip-compilation"], generated);
      say(`compiling on ${availableParallelism()} cores`);
      const compile = ["build", "-ldflags=-s -w", "-o", join(dir, "otelcol"), "."];
      await runGo(compile, { cwd: join(build, "otelcol"), bin: dir, problem: "the Collector cannot be compiled", fix });
      rmSync(build, { recursive: true });
    },
  };
}

async function requireGo(): Promise<void> {
  const version = await runTool("go", ["version"], { problem: "no Go to build the Collector with", fix: GO_FIX });
  const [, major, minor] = /go(\d+)\.(\d+)/.exec(version) ?? [];
  const found = Number(major) * 1_000 + Number(minor);
  if (!(found >= GO.major * 1_000 + GO.minor)) throw new PartError(`the Collector cannot be built with ${version.trim()}`, GO_FIX);
}

/** A running Collector. */
export interface Otelcol {
  /** OTLP/HTTP. */
  readonly url: string;
  /** OTLP/gRPC, as the SDKs' environment variable takes it. */
  readonly grpcUrl: string;
  /** The last lines of its log. */
  tail(): string;
  stop(): Promise<void>;
  /** kill -9. */
  kill(): Promise<void>;
  /** On the same ports, after `stop` or `kill`. */
  restart(): Promise<void>;
}

/** Starts it with configuration files of collector/otelcol, in their order, on free ports of loopback. */
export async function startOtelcol(files: readonly string[], env: Record<string, string>): Promise<Otelcol> {
  const [http, grpc, metrics] = [await freePort(), await freePort(), await freePort()];
  const ports = {
    OTELCOL_HTTP_ENDPOINT: `127.0.0.1:${http}`,
    OTELCOL_GRPC_ENDPOINT: `127.0.0.1:${grpc}`,
    OTELCOL_METRICS_PORT: `${metrics}`,
  };
  const args = files.flatMap((file) => ["--config", join(FOLDER, file)]);
  const start = () =>
    startPartProcess(join(partDirectory(otelcolPart), "otelcol"), args, {
      env: { ...ports, ...env },
      readyLine: /Everything is ready/,
      limitMs: 30_000,
    });
  let collector = await start();
  return {
    url: `http://127.0.0.1:${http}`,
    grpcUrl: `http://127.0.0.1:${grpc}`,
    tail: () => collector.tail(),
    stop: () => collector.stop(),
    kill: () => collector.kill(),
    async restart() {
      collector = await start();
    },
  };
}
