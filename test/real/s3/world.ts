import { randomUUID } from "node:crypto";
import { mkdtempSync, type Dirent } from "node:fs";
import { mkdir, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createS3ArtifactStore } from "../../../src/artifact/s3.ts";
import { createS3Objects } from "../../../src/artifact/s3/objects.ts";
import type { ArtifactStore } from "../../../src/artifact/artifact-store.ts";
import type { Objects } from "../../../src/artifact/objects.ts";
import { configSchema } from "../../../src/config.ts";
import type { S3Config } from "../../../src/config-artifacts.ts";
import { ROOT_KEY } from "../parts/s3.ts";

export const BUCKET = "nightshift-test";

/** A valid configuration of the driver, patient enough for a machine that is busy. */
export function s3Config(endpoint: string, overrides: Partial<S3Config> = {}): S3Config {
  const artifacts = {
    driver: "s3",
    endpoint,
    bucket: BUCKET,
    prefix: `test-${randomUUID()}/`,
    timeoutMs: 1_000,
    attempts: 2,
    ...overrides,
  };
  return configSchema.parse({ artifacts }).artifacts as S3Config;
}

/** The same, of a client that does not wait long: for a store that says nothing. What it asks of an honest one must be repeated. */
export function hasty(config: S3Config): S3Config {
  return { ...config, timeoutMs: 300 };
}

export function environmentOf(key: { accessKeyId: string; secretAccessKey: string }): Record<string, string> {
  return { AWS_ACCESS_KEY_ID: key.accessKeyId, AWS_SECRET_ACCESS_KEY: key.secretAccessKey };
}

export function openBucket(config: S3Config, key = ROOT_KEY): Objects {
  return createS3Objects(config, { env: environmentOf(key) });
}

/** Folders of one test file, deleted together. */
export function createFolders(): { fresh(): string; remove(): Promise<void> } {
  const root = mkdtempSync(join(tmpdir(), "nightshift-s3-test-"));
  return { fresh: () => join(root, randomUUID()), remove: () => rm(root, { recursive: true, force: true }) };
}

export function openStore(config: S3Config, cacheDir: string, key = ROOT_KEY): ArtifactStore {
  return createS3ArtifactStore({ cacheDir }, { objects: openBucket(config, key) });
}

/** All files below a directory, without those of the server's own making. */
export async function filesBelow(directory: string): Promise<string[]> {
  const entries = await entriesBelow(directory);
  return entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name).slice(directory.length + 1));
}

/** Directories appear by renaming: one that was found under its other name may be gone when it is its turn. */
async function entriesBelow(directory: string): Promise<Dirent[]> {
  for (;;) {
    try {
      await mkdir(directory, { recursive: true });
      return await readdir(directory, { recursive: true, withFileTypes: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
}
