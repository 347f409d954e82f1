import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { startBridge, startSandbox } from "./bridge.ts";

test("a pod's network that outlives its test's cluster is gone with the bridge, and the next cluster has its own", async () => {
  const remove = await startBridge();
  const pod = await startSandbox("lingers", 1);
  expect(readFileSync("/proc/self/net/dev", "utf8")).toMatch(/\bpod1:/);
  await remove();
  expect(readFileSync("/proc/self/net/dev", "utf8")).not.toMatch(/pod1|nightshift0/);
  const removeNext = await startBridge();
  const next = await startSandbox("next", 1);
  await next.close();
  await removeNext();
  await pod.close();
});

test("what a file of tests that was killed has left does not stop the next one", async () => {
  await startBridge();
  await startSandbox("left", 1);
  const remove = await startBridge();
  await remove();
});
