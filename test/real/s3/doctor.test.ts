import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { checkArtifacts } from "../../../src/cli/doctor/artifacts.ts";
import type { S3Config } from "../../../src/config-artifacts.ts";
import { ROOT_KEY, startS3, type S3Server } from "../parts/s3.ts";
import { startLyingStore, type LyingStore } from "./lying-store.ts";
import { BUCKET, environmentOf, filesBelow, s3Config } from "./world.ts";

let server: S3Server;
let proxy: LyingStore;
beforeAll(async () => {
  server = await startS3([BUCKET]);
  proxy = await startLyingStore(server.url);
});
beforeEach(() => proxy.lie(() => null));
afterAll(async () => {
  await proxy?.close();
  await server?.close();
});

const told = async (artifacts: S3Config, key = ROOT_KEY): Promise<string[]> =>
  (await checkArtifacts({ artifacts }, { env: environmentOf(key) })).map(({ status, check, message }) => `${status} ${check}: ${message}`);

test("a good bucket: every right, conditional create, the clock; nothing is left in it", async () => {
  const config = s3Config(server.url);
  expect(await told(config)).toEqual([
    `ok artifact store: ${BUCKET}/${config.prefix} at ${server.url}: may write, read, list and delete`,
    "ok artifact store: conditional create: of two writers one wins (If-None-Match: *)",
    "ok artifact store clock: agrees with this machine's",
  ]);
  expect((await filesBelow(server.directoryOf(BUCKET))).filter((file) => file.startsWith(config.prefix))).toEqual([]);
});

test("a store that overwrites what must be created once is bad", async () => {
  proxy.lie(({ method }) => (method === "PUT" ? "forget_writes" : null));
  const lines = await told(s3Config(proxy.url));
  expect(lines).toContain(
    "bad artifact store: conditional create: a second create replaced the first: If-None-Match: * has no effect there",
  );
});

test("a right that is missing is named; so are a wrong secret, a wrong bucket and a store that is away", async () => {
  const stranger = { accessKeyId: "AKIASTRANGER", secretAccessKey: "a-stranger-of-the-test" };
  await server.createAccount(stranger);
  const config = s3Config(server.url);
  const place = `${BUCKET}/${config.prefix} at ${server.url}`;
  expect((await told(config, stranger)).slice(0, 2)).toEqual([
    `bad artifact store: ${place}: may not write (HTTP 403 AccessDenied)`,
    `bad artifact store: ${place}: may not list (HTTP 403 AccessDenied)`,
  ]);
  const wrong = { ...ROOT_KEY, secretAccessKey: "not-the-secret" };
  expect((await told(config, wrong))[0]).toBe(`bad artifact store: ${place}: may not write (HTTP 403 SignatureDoesNotMatch)`);
  expect((await told({ ...config, bucket: "no-such-bucket" }))[0]).toContain("may not write (HTTP 404 NoSuchBucket)");
  expect(await told(s3Config("http://127.0.0.1:1"))).toEqual([
    `bad artifact store: the artifact store http://127.0.0.1:1, bucket ${BUCKET} did not answer: ECONNREFUSED (2 tries)`,
  ]);
  const [finding] = await checkArtifacts({ artifacts: config }, { env: {} });
  expect(finding).toMatchObject({ status: "bad", message: expect.stringContaining("AWS_ACCESS_KEY_ID: it is not set") });
});
