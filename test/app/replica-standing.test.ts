import { expect, test } from "vitest";
import { isAttestedBy, standingsOf } from "../../src/app/replica-standing.ts";
import type { Attestation } from "../../src/serving/attestation-store.ts";

const report = (replica: string, instance: string, status: Attestation["status"]): Attestation => ({
  ...{ digest: "sha256:a", replica, instance, status },
  ...{ reason: null, detail: null, figures: null, atMs: 0 },
});
const pod = (name: string, uid: string | null, isReady = true) => ({ name, uid, isReady });

test.each<[string, Parameters<typeof standingsOf>[0], Parameters<typeof standingsOf>[1], ReturnType<typeof standingsOf>]>([
  ["proven by this pod", [pod("vllm-0", "u1")], [report("vllm-0", "u1", "attested")], [{ replica: "vllm-0", attested: true }]],
  [
    "proven by the pod that had its name before",
    [pod("vllm-0", "u2")],
    [report("vllm-0", "u1", "attested")],
    [{ replica: "vllm-0", attested: false, isNew: true }],
  ],
  [
    "refused by the pod before",
    [pod("vllm-0", "u2")],
    [report("vllm-0", "u1", "refused")],
    [{ replica: "vllm-0", attested: false, isNew: true }],
  ],
  ["lost by this pod", [pod("vllm-0", "u1")], [report("vllm-0", "u1", "lost")], [{ replica: "vllm-0", attested: false }]],
  [
    "refused by this pod, which is not ready for that",
    [pod("vllm-0", "u1", false)],
    [report("vllm-0", "u1", "refused")],
    [{ replica: "vllm-0", attested: false }],
  ],
  ["joined, ready, silent", [pod("vllm-1", "u1")], [], [{ replica: "vllm-1", attested: false, isNew: true }]],
  ["joined, not ready, silent: it does not count yet", [pod("vllm-1", "u1", false)], [], []],
  [
    "proven, and not ready now: it counts",
    [pod("vllm-0", "u1", false)],
    [report("vllm-0", "u1", "attested")],
    [{ replica: "vllm-0", attested: true }],
  ],
  ["gone: its report is nobody's", [], [report("vllm-0", "u1", "attested")], []],
  [
    "of the config, without a pod: its name is enough, its silence is no excuse",
    [pod("shop-0", null), { name: "shop-1" }],
    [report("shop-0", "boot-7", "attested")],
    [
      { replica: "shop-0", attested: true },
      { replica: "shop-1", attested: false },
    ],
  ],
])("%s", (_, replicas, reports, expected) => {
  expect(standingsOf(replicas, reports)).toEqual(expected);
});

test("a report proves the pod that wrote it", () => {
  expect(isAttestedBy(pod("vllm-0", "u1"), report("vllm-0", "u1", "attested"))).toBe(true);
  expect(isAttestedBy(pod("vllm-0", "u2"), report("vllm-0", "u1", "attested"))).toBe(false);
  expect(isAttestedBy(pod("vllm-0", "u1"), report("vllm-0", "u1", "refused"))).toBe(false);
  expect(isAttestedBy(pod("vllm-1", "u1"), report("vllm-0", "u1", "attested"))).toBe(false);
});
