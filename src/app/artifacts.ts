import { join } from "node:path";
import type { ArtifactStore } from "../artifact/artifact-store.ts";
import { createFileArtifactStore } from "../artifact/file.ts";
import type { Objects } from "../artifact/objects.ts";
import { createS3ArtifactStore } from "../artifact/s3.ts";
import type { Config } from "../config.ts";
import type { S3Config } from "../config-artifacts.ts";

type Environment = Record<string, string | undefined>;

/**
 * The configured artifact store. With S3 `dataDir/artifact-cache` holds what was checked out, for processes that read files.
 * @throws NightshiftError `artifact_credentials_unreadable`
 */
export async function openArtifacts(
  { artifacts, dataDir }: Pick<Config, "artifacts" | "dataDir">,
  deps: { env: Environment },
): Promise<ArtifactStore> {
  if (artifacts.driver === "file") return createFileArtifactStore({ dir: join(dataDir, "artifacts") });
  return createS3ArtifactStore({ cacheDir: join(dataDir, "artifact-cache") }, { objects: await openObjects(artifacts, deps) });
}

/** The bucket itself. The SDK is loaded here and not above: half a second and 50 MB that only those pay who use it. */
export async function openObjects(config: S3Config, deps: { env: Environment }): Promise<Objects & { close(): void }> {
  const { createS3Objects } = await import("../artifact/s3/objects.ts");
  return createS3Objects(config, deps);
}
