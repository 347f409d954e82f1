import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { silentLog } from "../../src/log.ts";
import { createControlClient } from "../../src/serving/control-client.ts";
import { createPolledReplicas } from "../../src/serving/replica-poll.ts";
import type { ReplicaAddress, ToldReplicas } from "../../src/serving/replica-source.ts";
import { sendJson, startUpstream } from "./fake-upstream.ts";

const LIMIT = { timeout: 10_000, interval: 20 };
const replica = (name: string): ReplicaAddress => ({
  name,
  url: `http://${name}:8000`,
  readinessUrl: null,
  uid: `uid-${name}`,
  isReady: true,
});
const told = (version: string, ...names: string[]): ToldReplicas => ({ agent: "shop", version, replicas: names.map(replica) });

let directory: string;
let file: string;
/** What the control service says; null: it fails. */
let says: ToldReplicas | null;
let control: Awaited<ReturnType<typeof startUpstream>>;
let stopping: AbortController;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "nightshift-replicas-"));
  file = join(directory, "replicas-shop.json");
  stopping = new AbortController();
  says = told("v1", "vllm-a");
  control = await startUpstream(async ({ url }, response) => {
    const known = new URL(url, "http://x").searchParams.get("known");
    if (says === null) return sendJson(response, {}, 503);
    if (says.version !== known) return sendJson(response, says);
    // A short wait stands for the long poll's.
    await new Promise((resolve) => {
      setTimeout(resolve, 20);
    });
    response.writeHead(204).end();
  });
});
afterEach(async () => {
  stopping.abort();
  await control.close();
  await rm(directory, { recursive: true, force: true });
});

async function open() {
  const client = createControlClient({ controlUrl: control.url, token: "a-token" });
  const source = await createPolledReplicas({ agent: "shop", file, waitMs: 100 }, { control: client, log: silentLog() });
  return { source, polling: source.poll(stopping.signal) };
}
const names = (replicas: readonly ReplicaAddress[] | null) => replicas?.map(({ name }) => name) ?? null;

test("what the control service says is known, told on when it changes, and asked for again by its version", async () => {
  const { source } = await open();
  const changes = vi.fn<() => void>();
  source.subscribe(changes);
  expect(source.current()).toBeNull();
  await vi.waitFor(() => expect(names(source.current())).toEqual(["vllm-a"]), LIMIT);
  says = told("v2", "vllm-b", "vllm-a");
  await vi.waitFor(() => expect(names(source.current())).toEqual(["vllm-a", "vllm-b"]), LIMIT);
  expect(changes).toHaveBeenCalledTimes(2);
  await vi.waitFor(() => expect(control.seen.at(-1)?.url).toContain("known=v2"), LIMIT);
  expect(control.seen[0]?.url).toBe("/v1/upstreams?agent=shop&waitMs=100");
  expect(control.seen[0]?.headers["authorization"]).toBe("Bearer a-token");
});

test("while the control service fails they stay, also over a restart, and what it says when it is back counts", async () => {
  const first = await open();
  await vi.waitFor(async () => expect(JSON.parse(await readFile(file, "utf8"))).toEqual(says), LIMIT);
  stopping.abort();
  await first.polling;
  says = null;
  stopping = new AbortController();
  const second = await open();
  expect(names(second.source.current())).toEqual(["vllm-a"]);
  await vi.waitFor(() => expect(control.seen.length).toBeGreaterThan(3), LIMIT);
  expect(names(second.source.current())).toEqual(["vllm-a"]);
  says = told("v3");
  await vi.waitFor(() => expect(second.source.current()).toEqual([]), LIMIT);
});

test("a file that is damaged, or another agent's, is no answer, and keeps nobody from asking", async () => {
  await writeFile(file, '{"agent":"shop","rep');
  expect((await open()).source.current()).toBeNull();
  stopping.abort();
  stopping = new AbortController();
  await writeFile(file, JSON.stringify({ ...told("v1", "vllm-z"), agent: "other" }));
  const { source } = await open();
  expect(source.current()).toBeNull();
  await vi.waitFor(() => expect(names(source.current())).toEqual(["vllm-a"]), LIMIT);
});
