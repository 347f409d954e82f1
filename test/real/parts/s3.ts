import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort, startPartProcess, type PartProcess } from "./process.ts";
import { runGo } from "./go.ts";
import { partDirectory, runTool, type Part } from "./part.ts";

const VERSION = "1.8.0";
const MODULE = `github.com/versity/versitygw/cmd/versitygw@v${VERSION}`;

/**
 * VersityGW: S3's HTTP over a directory, built from source. Its conditional create holds in a race: 50 times eight writers at once, one winner each time.
 */
export const s3Part: Part = {
  name: "s3",
  version: `versitygw-${VERSION}`,
  sizeMb: 60,
  async fetch(dir, say) {
    const fix = "install Go 1.25 or newer, check the network and the free disk space (2 GB), then run the command again";
    say(`compiling ${MODULE}`);
    await runGo(["install", "-ldflags=-s -w", MODULE], { cwd: dir, bin: dir, problem: "VersityGW cannot be built", fix });
  },
};

/** Not a secret of anybody: it guards a directory of a test. */
export const ROOT_KEY = { accessKeyId: "AKIAROOTOFTHETEST", secretAccessKey: "root-secret-of-a-test/+x" };

export interface S3Server {
  readonly url: string;
  /** The directory that holds a bucket's objects as files, by their keys. */
  directoryOf(bucket: string): string;
  /** Another account, which owns nothing and may do nothing. */
  createAccount(key: { accessKeyId: string; secretAccessKey: string }): Promise<void>;
  /** The last lines of its log. */
  tail(): string;
  stop(): Promise<void>;
  /** kill -9. */
  kill(): Promise<void>;
  /** On the same port and data, after `stop` or `kill`. */
  restart(): Promise<void>;
  /** Ends it and deletes its data. */
  close(): Promise<void>;
}

/** Starts it on loopback with empty buckets of these names. */
export async function startS3(buckets: readonly string[]): Promise<S3Server> {
  const binary = join(partDirectory(s3Part), "versitygw");
  const home = mkdtempSync(join(tmpdir(), "nightshift-s3-"));
  const data = join(home, "data");
  for (const bucket of buckets) mkdirSync(join(data, bucket), { recursive: true });
  mkdirSync(join(home, "iam"));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const env = { ROOT_ACCESS_KEY_ID: ROOT_KEY.accessKeyId, ROOT_SECRET_ACCESS_KEY: ROOT_KEY.secretAccessKey };
  const start = (): Promise<PartProcess> =>
    startPartProcess(binary, ["--port", `127.0.0.1:${port}`, "--iam-dir", join(home, "iam"), "--keep-alive", "posix", data], {
      env,
      readyLine: /listening on/,
      limitMs: 30_000,
    });
  let server = await start();
  return {
    url,
    directoryOf: (bucket) => join(data, bucket),
    async createAccount({ accessKeyId, secretAccessKey }) {
      const account = ["--access", accessKeyId, "--secret", secretAccessKey, "--role", "user"];
      const admin = ["admin", "--access", ROOT_KEY.accessKeyId, "--secret", ROOT_KEY.secretAccessKey, "--endpoint-url", url];
      await runTool(binary, [...admin, "create-user", ...account], { problem: "no second account", fix: "read VersityGW's log" });
    },
    tail: () => server.tail(),
    stop: () => server.stop(),
    kill: () => server.kill(),
    async restart() {
      server = await start();
    },
    async close() {
      await server.kill();
      rmSync(home, { recursive: true, force: true });
    },
  };
}
