import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { describeArtifactStore } from "../../conformance/artifact-store.ts";
import { startS3, type S3Server } from "../parts/s3.ts";
import { BUCKET, createFolders, openBucket, openStore, s3Config } from "./world.ts";

let server: S3Server;
const folders = createFolders();
beforeAll(async () => {
  server = await startS3([BUCKET]);
});
afterAll(async () => {
  await server?.close();
  await folders.remove();
});

describeArtifactStore("s3", async () => {
  const config = s3Config(server.url);
  const flip = async (key: string) => {
    const path = join(server.directoryOf(BUCKET), config.prefix, key);
    const content = await readFile(path);
    content[0] = (content[0] ?? 0) ^ 1;
    await writeFile(path, content);
  };
  return {
    store: openStore(config, folders.fresh()),
    corruptObject: (digest) => flip(`objects/${digest.slice(7, 9)}/${digest.slice(7)}`),
    async corruptFile(name, file) {
      const list = await openBucket(config).get(`named/${name.replaceAll("/", "~")}.json`);
      const sealed = JSON.parse(Buffer.from(list ?? []).toString("utf8")) as { list: string };
      const { files } = JSON.parse(sealed.list) as { files: Record<string, { digest: string }> };
      const digest = files[file]?.digest ?? "";
      await flip(`files/${digest.slice(7, 9)}/${digest.slice(7)}`);
    },
  };
});
