import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { freePort, startPartProcess, type PartProcess } from "./process.ts";
import { PartError, partDirectory, runTool, type Part } from "./part.ts";

const DEBIAN = "/usr/lib/postgresql";
const FIX = "install PostgreSQL 15 or newer; on Debian as root: apt-get install postgresql";

/** Debian is its only source: the folder holds a link to the binaries that its package brought. */
export const postgresPart: Part = {
  name: "postgres",
  version: "debian",
  sizeMb: 60,
  async fetch(dir, say) {
    if (newestBinaries() === null) {
      if (process.getuid?.() !== 0) throw new PartError("no PostgreSQL server is installed, and only root may install Debian's", FIX);
      say("installing Debian's package (apt-get install postgresql)");
      const options = { env: { DEBIAN_FRONTEND: "noninteractive" }, problem: "Debian's PostgreSQL cannot be installed", fix: FIX };
      await runTool("apt-get", ["update", "-qq"], options);
      await runTool("apt-get", ["install", "-qq", "--yes", "--no-install-recommends", "postgresql"], options);
    }
    const binaries = newestBinaries();
    if (binaries === null) throw new PartError(`Debian's package brought no server of version 15 or newer below ${DEBIAN}`, FIX);
    symlinkSync(binaries, join(dir, "bin"));
    say((await runTool(join(dir, "bin", "postgres"), ["--version"], { problem: "the server does not run", fix: FIX })).trim());
  },
};

function newestBinaries(): string | null {
  if (!existsSync(DEBIAN)) return null;
  const versions = readdirSync(DEBIAN)
    .filter((name) => Number(name) >= 15 && existsSync(join(DEBIAN, name, "bin", "initdb")))
    .toSorted((a, b) => Number(b) - Number(a));
  return versions[0] === undefined ? null : join(DEBIAN, versions[0], "bin");
}

export interface PostgresServer {
  /** Of a database that exists from the start, `nightshift`. */
  readonly url: string;
  readonly port: number;
  /** Makes a database and resolves to its URL: an empty one, or a copy of `template`, which nobody may be connected to. */
  createDatabase(name: string, options?: { template: string }): Promise<string>;
  urlOf(database: string): string;
  /** SIGINT: open transactions are cut off, data is kept. */
  stop(): Promise<void>;
  /** kill -9 of the server; its children notice and end. */
  kill(): Promise<void>;
  /** On the same port, with the same data. */
  restart(): Promise<void>;
  /** Stops it and removes its data. */
  remove(): Promise<void>;
}

const PASSWORD = "not-a-secret-of-anybody";

/** `settings`: lines of postgresql.conf, such as `max_connections=20`. `enter`: what starts the server, such as nsenter into a namespace with another disk. */
export async function startPostgres(options: { settings?: readonly string[]; enter?: readonly string[] } = {}): Promise<PostgresServer> {
  const bin = join(partDirectory(postgresPart), "bin");
  const home = mkdtempSync(join(tmpdir(), "nightshift-postgres-"));
  const user = unprivileged();
  if (user !== null) chownSync(home, user.uid, user.gid);
  const passwordFile = join(home, "password");
  writeFileSync(passwordFile, PASSWORD);
  if (user !== null) chownSync(passwordFile, user.uid, user.gid);
  const data = join(home, "data");
  const setpriv = user === null ? [] : [`--reuid=${user.uid}`, `--regid=${user.gid}`, "--clear-groups"];
  const initdb = [
    "-D",
    data,
    "-U",
    "nightshift",
    "-A",
    "scram-sha-256",
    `--pwfile=${passwordFile}`,
    "-E",
    "UTF8",
    "--locale=C",
    "--no-sync",
  ];
  await runTool("setpriv", [...setpriv, join(bin, "initdb"), ...initdb], { cwd: home, problem: "initdb failed", fix: FIX });

  const port = await freePort();
  const settings = [`port=${port}`, "listen_addresses=127.0.0.1", `unix_socket_directories=${home}`, ...(options.settings ?? [])];
  const start = (): Promise<PartProcess> =>
    startPartProcess(join(bin, "postgres"), ["-D", data, ...settings.flatMap((setting) => ["-c", setting])], {
      cwd: home,
      readyLine: /database system is ready to accept connections/,
      limitMs: 60_000,
      setpriv,
      ...(options.enter === undefined ? {} : { enter: options.enter }),
    });
  let server = await start();
  const url = (database: string) => `postgres://nightshift:${PASSWORD}@127.0.0.1:${port}/${database}`;
  const createDatabase = async (name: string, options?: { template: string }): Promise<string> => {
    const client = new Client({ connectionString: url("postgres") });
    await client.connect();
    await client.query(`create database ${name}${options === undefined ? "" : ` template ${options.template}`}`);
    await client.end();
    return url(name);
  };
  await createDatabase("nightshift");
  return {
    url: url("nightshift"),
    port,
    createDatabase,
    urlOf: url,
    stop: () => server.stop("SIGINT"),
    kill: () => server.kill(),
    async restart() {
      server = await startAgain(start);
    },
    async remove() {
      await server.stop("SIGINT");
      rmSync(home, { recursive: true, force: true });
    },
  };
}

/** After a kill -9 the children hold the shared memory until they have noticed, a second at most; until then the server refuses to start. */
async function startAgain(start: () => Promise<PartProcess>): Promise<PartProcess> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await start();
    } catch (error) {
      if (attempt === 20 || !/shared memory block/.test(String(error))) throw error;
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }
}

/** The server refuses to run as root: then it runs as `nobody`. Null: this user will do. */
export function unprivileged(): { uid: number; gid: number } | null {
  return process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : null;
}
