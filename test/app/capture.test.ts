import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { startCapture } from "../../src/app/capture.ts";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { parseConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import { createInlineTransport } from "../../src/transport/inline.ts";
import { memoryDatabase } from "../store/memory-database.ts";

const directories = ["first", "second"].map((name) => mkdtempSync(join(tmpdir(), `nightshift-capture-${name}-`)));
const database = await memoryDatabase();
const log = silentLog();
afterAll(async () => {
  await database.close();
  for (const directory of directories) rmSync(directory, { recursive: true });
});

function start(directory: string) {
  const transport = createInlineTransport({ log });
  const config = { ...parseConfig({ collector: { port: 0 } }), dataDir: directory };
  const artifacts = createFileArtifactStore({ dir: join(directory, "artifacts") });
  return { transport, capture: startCapture(config, { database, transport, artifacts, log, now: Date.now }) };
}

it("a record of a collector with another redaction key is refused for good, and a process with another one does not start", async () => {
  const [own = "", foreign = ""] = directories;
  const { transport, capture } = start(own);
  await capture;
  const record = { signal: "traces", body: new Uint8Array(), encoding: "identity", redacted: true, receivedAtMs: Date.now() } as const;
  await expect(transport.publish({ ...record, tenant: "default", redactionKeyId: "0123456789abcdef" })).rejects.toMatchObject({
    code: "redaction_key_differs",
    retryable: false,
  });
  expect(await transport.publish({ ...record, tenant: "default" })).toEqual({ status: "stored" });
  await (await capture).close();
  await expect(start(foreign).capture).rejects.toMatchObject({ code: "redaction_key_differs" });
});
