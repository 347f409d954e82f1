import { describe, expect, test } from "vitest";
import { isBounded, mayCall, placeOf, type Place } from "./network.ts";
import { examples, podsOf, renderedOf, type Manifest } from "./objects.ts";

/** The pods of an example by component, the trainer's as the control service labels them, and some that are not ours. */
function placesOf(example: string): { manifests: readonly Manifest[]; place: (name: string) => Place } {
  const manifests = renderedOf(example);
  const own = podsOf(manifests).map((pod) => [pod.labels["app.kubernetes.io/component"] ?? "", placeOf(pod)] as const);
  const labels = {
    "app.kubernetes.io/name": "nightshift",
    "app.kubernetes.io/instance": "nightshift",
    "app.kubernetes.io/component": "trainer",
  };
  const places = new Map<string, Place>([
    ...own,
    ["trainer", { labels: { ...labels, "nightshift.dev/run-id": "0198c2f4" } }],
    ["support", { labels: { app: "support" } }],
    ["theirs", { labels: { app: "vllm" } }],
    ["stranger", { labels: { app: "stranger" } }],
    ["scraper", { labels: { app: "prometheus" }, namespace: "monitoring" }],
    ["elsewhere", { labels: {}, namespace: "elsewhere" }],
  ]);
  return {
    manifests,
    place: (name) => {
      const found = places.get(name);
      if (found === undefined) throw new Error(`${example} has no ${name}`);
      return found;
    },
  };
}

describe("NetworkPolicy on by default", () => {
  test.each(examples)("%s: every pod of ours is bounded in both directions, vLLM's by whom it takes calls from", (example) => {
    const manifests = renderedOf(example);
    for (const pod of podsOf(manifests)) {
      const { ingress, egress } = isBounded(manifests, placeOf(pod));
      expect({ pod: pod.of.metadata.name, ingress, egress }).toEqual({
        pod: pod.of.metadata.name,
        ingress: true,
        egress: pod.labels["app.kubernetes.io/component"] !== "vllm",
      });
    }
  });
});

describe("vLLM's port: only from gateways, serve and the scraper", () => {
  const cases = [
    { example: "full", server: "vllm" },
    { example: "existing-vllm", server: "theirs" },
  ];

  test.each(cases)("$example", ({ example, server }) => {
    const { manifests, place } = placesOf(example);
    const callers = ["serve", "ingest", "gateway", "collector", "run", "test", "trainer", "support", "stranger", "scraper", "elsewhere"];
    const allowed = callers.filter((caller) => mayCall(manifests, place(caller), place(server), 8000));
    expect(allowed).toEqual(["serve", "gateway", "scraper"]);
    expect(callers.filter((caller) => mayCall(manifests, place(caller), place(server), 4402))).toEqual(["serve", "gateway"]);
  });

  test("before llm-d there is no gateway of ours, and the pool's own way in is llm-d's to allow", () => {
    const { manifests } = placesOf("llm-d");
    const pool: Place = { labels: { "llm-d.ai/inference-serving": "true" } };
    const serve: Place = {
      labels: podsOf(manifests).find(({ labels }) => labels["app.kubernetes.io/component"] === "serve")?.labels ?? {},
    };
    expect(mayCall(manifests, serve, pool, 8000)).toBe(true);
    expect(mayCall(manifests, { labels: { app: "stranger" } }, pool, 8000)).toBe(false);
  });
});

describe("trainer and replay: egress by allow-list", () => {
  const { manifests, place } = placesOf("full");

  test("a trainer's pod calls no pod, and nobody calls it", () => {
    for (const other of ["serve", "vllm", "gateway", "collector", "support", "stranger", "elsewhere"]) {
      for (const port of [80, 443, 4400, 4318, 8000, 8080]) {
        expect(mayCall(manifests, place("trainer"), place(other), port)).toBe(false);
        expect(mayCall(manifests, place(other), place("trainer"), port)).toBe(false);
      }
    }
  });

  test("what it may call is the object store, by address, and names", () => {
    const policy = manifests.find(({ kind, metadata }) => kind === "NetworkPolicy" && metadata.name === "nightshift-trainer");
    expect(policy?.spec?.["egress"]).toEqual([
      {
        ports: [
          { port: 53, protocol: "UDP" },
          { port: 53, protocol: "TCP" },
        ],
      },
      { to: [{ ipBlock: { cidr: "10.20.1.0/24" } }], ports: [{ port: 443, protocol: "TCP" }] },
    ]);
  });

  test("replay, which runs in serve, reaches the policy servers, and no agent, gateway or tool of production", () => {
    expect(mayCall(manifests, place("serve"), place("vllm"), 8000)).toBe(true);
    for (const other of ["support", "gateway", "stranger", "elsewhere"]) {
      for (const port of [80, 443, 3000, 8000, 8080]) expect(mayCall(manifests, place("serve"), place(other), port)).toBe(false);
    }
  });
});

describe("who calls our own processes", () => {
  test("the API: gateways, adapter agents, CronJobs, the test, and who networkPolicy.api names", () => {
    const { manifests, place } = placesOf("existing-vllm");
    const callers = ["ingest", "gateway", "collector", "run", "test", "trainer", "support", "theirs", "stranger", "scraper", "elsewhere"];
    expect(callers.filter((caller) => mayCall(manifests, place(caller), place("serve"), 4400))).toEqual([
      "gateway",
      "run",
      "test",
      "theirs",
    ]);
  });

  test("gateway and collector: the agents that networkPolicy.agents names", () => {
    const { manifests, place } = placesOf("existing-vllm");
    const callers = ["support", "stranger", "elsewhere", "gateway", "test"];
    expect(callers.filter((caller) => mayCall(manifests, place(caller), place("gateway"), 8080))).toEqual(["support"]);
    expect(callers.filter((caller) => mayCall(manifests, place(caller), place("collector"), 4318))).toEqual(["support", "gateway", "test"]);
  });

  test("metrics: the scraper", () => {
    const { manifests, place } = placesOf("full");
    for (const name of ["serve", "ingest", "gateway", "collector", "vllm"]) {
      const callers = ["support", "stranger", "scraper", "elsewhere"].filter((caller) =>
        mayCall(manifests, place(caller), place(name), 9464),
      );
      expect({ name, callers }).toEqual({ name, callers: ["scraper"] });
    }
  });
});
