import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { inspect } from "node:util";
import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { digestOf } from "../../../src/artifact/digest.ts";
import type { S3Config } from "../../../src/config-artifacts.ts";
import { NightshiftError } from "../../../src/errors.ts";
import { ROOT_KEY, startS3, type S3Server } from "../parts/s3.ts";
import { startLyingStore, type Fault, type LyingStore } from "./lying-store.ts";
import { BUCKET, createFolders, environmentOf, filesBelow, hasty, openBucket, openStore, s3Config } from "./world.ts";

let server: S3Server;
let proxy: LyingStore;
let config: S3Config;
const folders = createFolders();
beforeAll(async () => {
  server = await startS3([BUCKET]);
  proxy = await startLyingStore(server.url);
});
beforeEach(() => {
  proxy.lie(() => null);
  config = s3Config(proxy.url);
});
afterAll(async () => {
  await proxy?.close();
  await server?.close();
  await folders.remove();
});

const bytes = (text: string) => new TextEncoder().encode(text);
const onReads =
  (fault: Fault) =>
  ({ method }: { method: string }): Fault | null =>
    method === "GET" ? fault : null;
/** What only a client's own limit ends. */
const SILENT: ReadonlySet<Fault> = new Set(["hang", "stall"]);
const again = <T>(work: () => Promise<T>): Promise<T> => vi.waitFor(work, { timeout: 60_000, interval: 50 });
const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "none",
    (error: unknown) => (error instanceof NightshiftError ? error.code : String(error)),
  );

describe("a store that lies", () => {
  const LIES: readonly { fault: Fault; code: string }[] = [
    { fault: "flip", code: "artifact_corrupt" },
    { fault: "truncate", code: "artifact_corrupt" },
    { fault: "endless", code: "artifact_corrupt" },
    { fault: "not_s3", code: "artifact_corrupt" },
    { fault: "cut", code: "artifact_store_unavailable" },
    { fault: "stall", code: "artifact_store_unavailable" },
    { fault: "hang", code: "artifact_store_unavailable" },
    { fault: "error500", code: "artifact_store_unavailable" },
    { fault: "slow_down", code: "artifact_store_unavailable" },
  ];
  const files = new Map([
    ["adapter_config.json", bytes(JSON.stringify({ r: 16 }))],
    ["adapter_model.safetensors", new Uint8Array(200_000).fill(7)],
  ]);

  test.each(LIES)("$fault is $code, leaves nothing behind, and is forgotten once it is over", async ({ fault, code }) => {
    const cache = folders.fresh();
    const place = { ...config, maxObjectBytes: 1_000_000 };
    const store = openStore(place, cache);
    const doubted = SILENT.has(fault) ? openStore(hasty(place), cache) : store;
    const { digest } = await store.put(bytes("a group's body"));
    const published = await store.publish("adapters/shop-1", files);
    proxy.lie(onReads(fault));
    expect(await codeOf(doubted.get(digest))).toBe(code);
    expect(await codeOf(doubted.checkout("adapters/shop-1"))).toBe(code);
    expect(await filesBelow(cache)).toEqual([]);
    proxy.lie(() => null);
    expect(await again(() => doubted.get(digest))).toEqual(Buffer.from("a group's body"));
    expect((await again(() => doubted.checkout("adapters/shop-1")))?.digest).toBe(published.digest);
  });

  test.each(["flip", "truncate"] as const)("%s of one file only: no half-written directory", async (fault) => {
    const cache = folders.fresh();
    const store = openStore(config, cache);
    await store.publish("adapters/shop-1", files);
    const digest = digestOf(files.get("adapter_model.safetensors") ?? "").slice("sha256:".length);
    proxy.lie(({ method, path }) => (method === "GET" && path.endsWith(digest) ? fault : null));
    expect(await codeOf(store.checkout("adapters/shop-1"))).toBe("artifact_corrupt");
    expect(await filesBelow(cache)).toEqual([]);
  });

  test("every byte of the list of files is covered", async () => {
    const store = openStore(config, folders.fresh());
    await store.publish("n", new Map([["a.json", bytes("{}")]]));
    const key = `named/n.json`;
    const list = Buffer.from((await openBucket(config).get(key)) ?? []);
    for (let at = 0; at < list.length; at += 1) {
      const flipped = Buffer.from(list);
      flipped[at] = (flipped[at] ?? 0) ^ 1;
      await openBucket(config).replace(key, flipped);
      expect(await codeOf(openStore(config, folders.fresh()).checkout("n"))).toBe("artifact_corrupt");
    }
  });

  test.each(["lose_answer", "hang", "error500", "slow_down"] as const)(
    "a write that meets %s is one error, and holds when it is repeated",
    async (fault) => {
      const store = openStore(SILENT.has(fault) ? hasty(config) : config, folders.fresh());
      proxy.lie(() => fault);
      expect(await codeOf(store.put(bytes("x")))).toBe("artifact_store_unavailable");
      expect(await codeOf(store.publish("n", files))).toBe("artifact_store_unavailable");
      proxy.lie(() => null);
      const { digest } = await again(() => store.put(bytes("x")));
      expect(await again(() => store.get(digest))).toEqual(Buffer.from("x"));
      await again(() => store.publish("n", files));
      expect(await again(() => store.checkout("n"))).not.toBeNull();
    },
  );

  test("a write whose answer is lost is done: asking again finds it", async () => {
    const store = openStore(config, folders.fresh());
    const lost = new Set<string>();
    proxy.lie(({ method, path }) => {
      if (method !== "PUT" || lost.has(path)) return null;
      lost.add(path);
      return "lose_answer";
    });
    const published = await store.publish("n", files);
    expect((await store.checkout("n"))?.digest).toBe(published.digest);
    expect(lost.size).toBe(files.size + 1);
  });

  test("what a forgetful store acknowledged is missing, not something else", async () => {
    const store = openStore(config, folders.fresh());
    proxy.lie(({ method }) => (method === "PUT" ? "forget_writes" : null));
    const { digest } = await store.put(bytes("gone"));
    expect(await store.get(digest)).toBeNull();
  });

  test("a copy in the cache that rotted is fetched again; a good one needs no store", async () => {
    const cache = folders.fresh();
    const store = openStore(config, cache);
    await store.publish("n", files);
    const { directory } = (await store.checkout("n")) ?? { directory: "" };
    await writeFile(join(directory, "adapter_config.json"), "rotten");
    proxy.lie(() => "hang");
    expect(await codeOf(openStore(hasty(config), cache).checkout("n"))).toBe("artifact_store_unavailable");
    proxy.lie(() => null);
    expect((await store.checkout("n"))?.directory).toBe(directory);
    proxy.lie(() => "hang");
    expect((await store.checkout("n"))?.directory).toBe(directory);
  });
});

describe("writers", () => {
  test("two processes' stores with the same bytes at once end with one object, with the same name and other content with one winner", async () => {
    const stores = Array.from({ length: 4 }, () => openStore(config, folders.fresh()));
    for (let round = 0; round < 10; round += 1) {
      const put = await Promise.all(stores.map((store) => store.put(bytes(`round ${round}`))));
      expect(new Set(put.map(({ digest }) => digest)).size).toBe(1);
      expect(put.filter(({ status }) => status === "created")).toHaveLength(1);
      const name = `race/${round}`;
      const published = await Promise.allSettled(stores.map((store, index) => store.publish(name, new Map([["a", bytes(`${index}`)]]))));
      const won = published.flatMap((result) => (result.status === "fulfilled" ? [result.value.digest] : []));
      expect(won).toHaveLength(1);
      for (const store of stores) expect((await store.checkout(name))?.digest).toBe(won[0]);
    }
  });

  test("an object that rotted in the bucket heals when it is put again", async () => {
    const store = openStore(config, folders.fresh());
    const { digest } = await store.put(bytes("honest"));
    await openBucket(config).replace(`objects/${digest.slice(7, 9)}/${digest.slice(7)}`, bytes("rotten"));
    expect(await codeOf(store.get(digest))).toBe("artifact_corrupt");
    expect((await store.put(bytes("honest"))).status).toBe("created");
    expect(await store.get(digest)).toEqual(Buffer.from("honest"));
  });

  test("an object larger than the limit is refused before a byte is sent", async () => {
    const store = openStore(s3Config(proxy.url, { maxObjectBytes: 1_024 }), folders.fresh());
    const before = proxy.calls.length;
    expect(await codeOf(store.put(new Uint8Array(1_025)))).toBe("artifact_too_large");
    expect(proxy.calls.length).toBe(before);
  });

  test("one that is killed in the middle of an upload leaves nothing; the next one does it", async () => {
    const content = new Uint8Array(8 * 1024 * 1024).fill(5);
    proxy.lie(({ method }) => (method === "PUT" ? "slow_upload" : null));
    const place = JSON.stringify(config);
    const child = spawn(process.execPath, [join(import.meta.dirname, "uploader.ts"), place, `${content.byteLength}`], {
      env: { ...process.env, ...environmentOf(ROOT_KEY) },
      stdio: ["ignore", "inherit", "inherit"],
    });
    const before = proxy.calls.length;
    await vi.waitUntil(() => proxy.calls.length > before, { timeout: 30_000, interval: 10 });
    child.kill("SIGKILL");
    await once(child, "exit");
    proxy.lie(() => null);
    const store = openStore(config, folders.fresh());
    expect(await store.get(digestOf(content))).toBeNull();
    expect(await store.put(content)).toEqual({ status: "created", digest: digestOf(content) });
    expect(digestOf((await store.get(digestOf(content))) ?? "")).toBe(digestOf(content));
  });
});

describe("a store that is away", () => {
  test("is one clear error after a bounded number of tries, and everything goes on when it is back", async () => {
    const direct = s3Config(server.url);
    const store = openStore(direct, folders.fresh());
    const { digest } = await store.put(bytes("kept"));
    await server.kill();
    const problem: unknown = await store.get(digest).catch((error: unknown) => error);
    expect(problem).toMatchObject({
      code: "artifact_store_unavailable",
      retryable: true,
      message: `the artifact store ${server.url}, bucket ${BUCKET} did not answer: ECONNREFUSED (2 tries)`,
    });
    expect(await codeOf(store.put(bytes("new")))).toBe("artifact_store_unavailable");
    expect(await codeOf(store.publish("n", new Map([["a", bytes("")]])))).toBe("artifact_store_unavailable");
    await server.restart();
    expect(await store.get(digest)).toEqual(Buffer.from("kept"));
    expect((await store.put(bytes("new"))).status).toBe("created");
  });

  test("an abort ends the waiting at once", async () => {
    proxy.lie(() => "hang");
    const store = openStore({ ...config, timeoutMs: 60_000, attempts: 10 }, folders.fresh());
    const stop = new AbortController();
    const waiting = store.get(digestOf("x"), { signal: stop.signal });
    await vi.waitUntil(() => proxy.calls.at(-1)?.includes(digestOf("x").slice(7)), { timeout: 10_000, interval: 5 });
    stop.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
  });
});

describe("credentials", () => {
  const secret = "wrong-secret-that-nobody-may-read";

  test.each([
    { what: "a wrong secret", key: { accessKeyId: ROOT_KEY.accessKeyId, secretAccessKey: secret }, says: "HTTP 403 SignatureDoesNotMatch" },
    { what: "an unknown key", key: { accessKeyId: "AKIANOBODY", secretAccessKey: secret }, says: "HTTP 403 InvalidAccessKeyId" },
  ])("$what is refused in one line that names neither the secret nor the signature", async ({ key, says }) => {
    const store = openStore(config, folders.fresh(), key);
    const error: unknown = await store.put(bytes("x")).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code: "artifact_store_refused", retryable: true });
    expect((error as Error).message).toBe(`the artifact store ${proxy.url}, bucket ${BUCKET} refused this client: ${says}`);
    const lines: string[] = [];
    pino({}, { write: (line) => lines.push(line) }).error({ err: error }, "upload failed");
    const everything = inspect(error, { depth: 20, showHidden: true }) + lines.join("");
    for (const hidden of [secret, "Signature=", "StringToSign", "Authorization"]) expect(everything).not.toContain(hidden);
  });

  test("of another account, a bucket that is not there, and a missing file are told apart", async () => {
    const key = { accessKeyId: "AKIAOTHERACCOUNT", secretAccessKey: "other-secret-of-a-test" };
    await server.createAccount(key);
    const messageOf = (work: Promise<unknown>) => work.then(String, (error: Error) => error.message.split(": ").at(-1));
    expect(await messageOf(openStore(config, folders.fresh(), key).put(bytes("x")))).toBe("HTTP 403 AccessDenied");
    const nowhere = { ...config, bucket: "no-such-bucket" };
    expect(await messageOf(openStore(nowhere, folders.fresh()).put(bytes("x")))).toBe("HTTP 404 NoSuchBucket");
    expect(await messageOf(openStore(nowhere, folders.fresh()).get(digestOf("x")))).toBe("HTTP 404 NoSuchBucket");
    const files = { accessKeyIdFile: "/nonexistent/id", secretAccessKeyFile: "/nonexistent/secret" };
    expect(() => openStore({ ...config, ...files }, folders.fresh())).toThrow("credentials cannot be read from /nonexistent/id: ENOENT");
    expect(() => openStore({ ...config, caFile: "/nonexistent/ca.pem" }, folders.fresh())).toThrow(
      "config artifacts.caFile: the file cannot be read: ENOENT",
    );
  });
});
