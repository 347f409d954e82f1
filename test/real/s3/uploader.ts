import { tmpdir } from "node:os";
import { createS3Objects } from "../../../src/artifact/s3/objects.ts";
import { createS3ArtifactStore } from "../../../src/artifact/s3.ts";
import type { S3Config } from "../../../src/config-artifacts.ts";

// `node uploader.ts CONFIG BYTES`: puts one object of that many fives; to be killed while it does.
const [config = "", size = ""] = process.argv.slice(2);
const objects = createS3Objects(JSON.parse(config) as S3Config, { env: process.env });
await createS3ArtifactStore({ cacheDir: tmpdir() }, { objects }).put(new Uint8Array(Number(size)).fill(5));
