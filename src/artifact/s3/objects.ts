import { readFileSync } from "node:fs";
import { Agent } from "node:https";
import { setTimeout as sleep } from "node:timers/promises";
import { DeleteObjectCommand, GetObjectCommand, ListObjectsV2Command, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { s3Endpoint, type S3Config } from "../../config-artifacts.ts";
import { nightshiftError } from "../../errors.ts";
import type { Objects } from "../objects.ts";
import { readS3Credentials } from "./credentials.ts";
import { failureOf, type Failure } from "./failure.ts";

type Environment = Record<string, string | undefined>;
type Signal = AbortSignal | undefined;

const FIRST_PAUSE_MS = 100;
/** Credentials are read again when they are older than this: rotated files are noticed without a restart. */
const CREDENTIALS_AGE_MS = 300_000;
/** How long before the end of their life the SDK asks for new ones. */
const SDK_REFRESH_MS = 300_000;
/** A thousand keys each. A store that goes on for ever is not believed. */
const MAX_PAGES = 1_000;

/**
 * The configured bucket. It connects when it is first used; `close` drops its connections.
 * @throws NightshiftError `artifact_credentials_unreadable`, `config_invalid` for a certificate authority that cannot be read
 */
export function createS3Objects(config: S3Config, { env }: { env: Environment }): Objects & { close(): void } {
  const client = createClient(config, env);
  const { bucket: Bucket, prefix } = config;
  const where = `${s3Endpoint(config)}, bucket ${Bucket}`;
  const at = (key: string) => ({ Bucket, Key: prefix + key });
  const retry = <T>(signal: Signal, request: () => Promise<T>) => persist({ where, attempts: config.attempts }, signal, request);
  const options = (signal: Signal) => (signal === undefined ? {} : { abortSignal: signal });
  const put = async (key: string, bytes: Uint8Array, signal: Signal, condition: { IfNoneMatch?: "*" }): Promise<void> => {
    if (bytes.byteLength > config.maxObjectBytes)
      throw nightshiftError("artifact_too_large", { what: key, bytes: bytes.byteLength, maxBytes: config.maxObjectBytes });
    await client.send(new PutObjectCommand({ ...at(key), Body: bytes, ContentLength: bytes.byteLength, ...condition }), options(signal));
  };

  return {
    get: (key, { signal, maxBytes = config.maxObjectBytes } = {}) =>
      retry(signal, async () => {
        try {
          const { Body } = await client.send(new GetObjectCommand(at(key)), options(signal));
          // Node's own stream, whatever the SDK's type says of other platforms.
          return await readAll(key, Body as AsyncIterable<Uint8Array>, maxBytes);
        } catch (error) {
          if (failureOf(error).kind === "missing") return null;
          throw error;
        }
      }),
    create: (key, bytes, { signal } = {}) =>
      retry(signal, async () => {
        try {
          await put(key, bytes, signal, { IfNoneMatch: "*" });
          return "created";
        } catch (error) {
          if (failureOf(error).kind === "exists") return "exists";
          throw error;
        }
      }),
    replace: (key, bytes, { signal } = {}) => retry(signal, () => put(key, bytes, signal, {})),
    remove: (key, { signal } = {}) =>
      retry(signal, async () => {
        await client.send(new DeleteObjectCommand(at(key)), options(signal));
      }),
    async list(below, { signal } = {}) {
      const keys: string[] = [];
      let token: string | undefined;
      for (let page = 0; page < MAX_PAGES; page += 1) {
        const input = { Bucket, Prefix: prefix + below, ...(token === undefined ? {} : { ContinuationToken: token }) };
        const answer = await retry(signal, () => client.send(new ListObjectsV2Command(input), options(signal)));
        for (const { Key } of answer.Contents ?? []) if (Key?.startsWith(prefix + below)) keys.push(Key.slice(prefix.length));
        token = answer.NextContinuationToken;
        if (token === undefined) break;
      }
      return keys;
    },
    close: () => client.destroy(),
  };
}

function createClient(config: S3Config, env: Environment): S3Client {
  // Read once at the start, so that a missing file is told at once and not in the middle of a night.
  readS3Credentials(config, env);
  return new S3Client({
    region: config.region,
    // Given, not left to the SDK: it would look for these in AWS_ variables and in files of the home directory.
    endpoint: s3Endpoint(config),
    useDualstackEndpoint: false,
    useFipsEndpoint: false,
    useArnRegion: false,
    defaultsMode: "standard",
    retryMode: "standard",
    forcePathStyle: config.pathStyle ?? config.endpoint !== undefined,
    credentials: () =>
      Promise.resolve({ ...readS3Credentials(config, env), expiration: new Date(Date.now() + SDK_REFRESH_MS + CREDENTIALS_AGE_MS) }),
    // Repeated here, not there: a body that breaks off in the middle counts too.
    maxAttempts: 1,
    // Bytes are compared with their sha256; servers besides Amazon's do not know all of the SDK's checksums.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    requestHandler: {
      connectionTimeout: config.timeoutMs,
      socketTimeout: config.timeoutMs,
      ...(config.caFile === undefined
        ? {}
        : { httpsAgent: new Agent({ keepAlive: true, maxSockets: 50, ca: authorityIn(config.caFile) }) }),
    },
  });
}

function authorityIn(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    const problem = `the file cannot be read: ${(cause as NodeJS.ErrnoException).code ?? "unknown problem"}`;
    throw nightshiftError("config_invalid", { path: "artifacts.caFile", received: JSON.stringify(file), problem }, { cause });
  }
}

async function persist<T>({ where, attempts }: { where: string; attempts: number }, signal: Signal, request: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await request();
    } catch (error) {
      signal?.throwIfAborted();
      const failure = failureOf(error);
      if (failure.kind === "ours") throw error;
      if (failure.kind !== "passing" || attempt === attempts) throw told(where, failure, attempt);
      // Full jitter, so that processes that lost the store together do not come back together.
      await sleep(FIRST_PAUSE_MS * 2 ** (attempt - 1) * Math.random(), undefined, { signal });
    }
  }
}

function told(where: string, { kind, problem, cause }: Failure, attempts: number): Error {
  if (kind !== "passing") return nightshiftError("artifact_store_refused", { where, problem }, { cause });
  const tries = attempts === 1 ? "" : ` (${attempts} tries)`;
  return nightshiftError("artifact_store_unavailable", { where, problem: `${problem}${tries}` }, { cause });
}

async function readAll(key: string, body: AsyncIterable<Uint8Array>, maxBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.byteLength;
    if (bytes > maxBytes) throw nightshiftError("artifact_corrupt", { what: key, problem: `it has more than ${maxBytes} bytes` });
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, bytes);
}
