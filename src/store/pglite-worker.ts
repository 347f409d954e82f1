import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parentPort } from "node:worker_threads";
import { PGlite, types } from "@electric-sql/pglite";
import { NodeFS } from "@electric-sql/pglite/nodefs";
import type { PgliteAnswer, PgliteRequest } from "./pglite-protocol.ts";
import { createStatements, type StatementResult } from "./pglite-statements.ts";

/**
 * The thread that Postgres runs in: PGlite executes queries synchronously, so on the main thread a checkpoint would stall every listener.
 * Started by pglite.ts only.
 */
let postgres: PGlite | null = null;
let run: ReturnType<typeof createStatements> | null = null;
let last: Promise<void> = Promise.resolve();

parentPort?.on("message", (request: PgliteRequest) => {
  last = last.then(async () => parentPort?.postMessage(await answer(request)));
});

async function answer(request: PgliteRequest): Promise<PgliteAnswer> {
  try {
    return { id: request.id, status: "done", ...(await perform(request)) };
  } catch (error) {
    return failed(request.id, error);
  }
}

async function perform(request: PgliteRequest): Promise<StatementResult> {
  if (request.kind === "query") {
    if (run === null) throw new Error("not open");
    return run(request.sql, request.parameters);
  }
  if (request.kind === "open") {
    postgres = request.dir === null ? await openInMemory() : await openDirectory(request.dir);
    run = createStatements(postgres);
  } else await postgres?.close();
  return { rows: [], affectedRows: 0, command: "" };
}

function failed(id: number, error: unknown): PgliteAnswer {
  const { message, code, constraint, severity, errno } = error as Failure;
  // A statement's own failure carries a severity; anything else is an abort of the WebAssembly module.
  const fatal = severity === undefined || severity === "FATAL" || severity === "PANIC";
  const isDiskFull = message === undefined && errno === WASI_ENOSPC;
  return {
    id,
    status: "failed",
    message: message ?? `file system error ${errno}`,
    code: isDiskFull ? DISK_FULL : (code ?? null),
    constraint: constraint ?? null,
    fatal,
  };
}

/** Postgres' errors have these; Emscripten's file system throws objects with a number and nothing else. */
interface Failure {
  message?: string;
  code?: string;
  constraint?: string;
  severity?: string;
  errno?: number;
}

const WASI_ENOSPC = 51;
/** Postgres' SQLSTATE. */
const DISK_FULL = "53100";

/** See pglite-statements.ts. */
const START = [...PGlite.defaultStartParams, "-c", "plan_cache_mode=force_custom_plan"];

const OPTIONS = {
  startParams: START,
  // PGlite's own bytea functions work byte by byte and cost milliseconds for one captured span.
  parsers: { [types.BYTEA]: (text: string) => new Uint8Array(Buffer.from(text.slice(2), "hex")), [types.INT8]: Number },
  // Bytes go to Postgres as they are; its types know of text only, which is twice as long and has to be read again.
  serializers: { [types.BYTEA]: (bytes: Uint8Array) => bytes as unknown as string },
};

/** A fresh cluster each time, unpacked from a cached one: initdb takes seconds, unpacking tenths. */
async function openInMemory(): Promise<PGlite> {
  const cached = cachedCluster();
  if (cached !== null) return PGlite.create({ ...OPTIONS, loadDataDir: cached });
  const created = await PGlite.create(OPTIONS);
  const dump = await created.dumpDataDir("none");
  const cache = clusterCacheFile();
  const aside = `${cache}.${process.pid}.${Date.now()}`;
  mkdirSync(dirname(cache), { recursive: true });
  writeFileSync(aside, Buffer.from(await dump.arrayBuffer()));
  renameSync(aside, cache);
  return created;
}

function cachedCluster(): Blob | null {
  const file = clusterCacheFile();
  return existsSync(file) ? new Blob([readFileSync(file)]) : null;
}

/** By PGlite version: a cluster's files are not readable across major versions of Postgres. */
function clusterCacheFile(): string {
  const manifest = new URL("../package.json", import.meta.resolve("@electric-sql/pglite"));
  const { version } = JSON.parse(readFileSync(manifest, "utf8")) as { version: string };
  return fileURLToPath(new URL(`../../node_modules/.cache/nightshift/pglite-${version}.tar`, import.meta.url));
}

/** Opens (or makes) the cluster below `dir`, whose lock the caller holds. */
async function openDirectory(dir: string): Promise<PGlite> {
  const cluster = join(dir, "postgres");
  if (!existsSync(cluster)) {
    // A kill meanwhile must not leave half a cluster under the real name.
    const aside = `${cluster}.initializing`;
    rmSync(aside, { recursive: true, force: true });
    const cached = cachedCluster();
    await (await PGlite.create({ ...OPTIONS, dataDir: aside, ...(cached === null ? {} : { loadDataDir: cached }) })).close();
    for (const path of readdirSync(aside, { recursive: true, encoding: "utf8" })) syncPath(join(aside, path));
    syncPath(aside);
    renameSync(aside, cluster);
    syncPath(dir);
  }
  // Left behind by kill -9. Our own lock is held, so it cannot belong to a living process.
  rmSync(join(cluster, "postmaster.pid"), { force: true });
  return PGlite.create({ ...OPTIONS, fs: new DurableNodeFs(cluster), startParams: DURABLE });
}

/** PGlite starts Postgres with -F (no fsync): a power cut would lose acknowledged commits. */
const DURABLE = [
  ...START.filter((parameter) => parameter !== "-F"),
  ...["-c", "wal_sync_method=fsync"],
  // A segment that is used again keeps its old bytes until they are written over: erased text would lie in it.
  ...["-c", "wal_recycle=off"],
];

interface NodeFsModule {
  realPath(node: unknown): string;
  stream_ops: { fsync?: (stream: { nfd?: number; node: unknown }) => number };
}

/** Emscripten's NODEFS has no fsync, so Postgres' calls succeed without effect. This one passes them on. */
class DurableNodeFs extends NodeFS {
  override async init(...parameters: Parameters<NodeFS["init"]>): ReturnType<NodeFS["init"]> {
    const result = await super.init(...parameters);
    const patch = (module: { NODEFS: unknown }) => {
      const nodefs = module.NODEFS as NodeFsModule;
      nodefs.stream_ops.fsync = (stream) => {
        if (stream.nfd !== undefined) fsyncSync(stream.nfd);
        else syncPath(nodefs.realPath(stream.node));
        return 0;
      };
    };
    result.emscriptenOpts.preRun = [...(result.emscriptenOpts.preRun ?? []), patch];
    return result;
  }
}

function syncPath(path: string): void {
  const descriptor = openSync(path, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
