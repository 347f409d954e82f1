import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect } from "vitest";
import { parse, stringify } from "yaml";
import { helmPrograms } from "../parts/helm.ts";
import type { Cluster } from "../kubernetes/cluster.ts";
import { FOLLOWED, readGuide, type Followed } from "./guide.ts";
import { kubeletOf } from "./kubelet.ts";
import { openTerminal, type StandIn } from "./terminal.ts";

const ROOT = resolve(import.meta.dirname, "../../..");
export type Tree = Record<string, unknown>;

/** Somebody who does what docs/kubernetes.md says, in its order, and fills in what is theirs. */
export interface Reader {
  /** Does what a block says. Resolves to what it printed. */
  follow(block: Followed): Promise<string>;
  /** Does it in another terminal, until the reader leaves or the next one is left there. */
  leave(block: Followed, sign: RegExp): Promise<void>;
  /** What a YAML block says, filled in. */
  understand(block: Followed): Tree;
  /** As somebody's values.yaml: each of `trees` over the ones before it. */
  writeValues(...trees: readonly Tree[]): void;
  /** The token of a role, from the file that the guide has made. */
  token(role: string): string;
  /** What the guide says to be done that has not been done. */
  unread(): Followed[];
  close(): Promise<void>;
}

/** What a reader has around the cluster. */
export interface Surroundings {
  brokers: readonly string[];
  postgresUrl: string;
  createTopic: (name: string, options: { partitions: number; config: Record<string, string> }) => Promise<void>;
}

/** Nobody's images: the node takes them by their names. */
const DIGEST = "1".repeat(64);

export async function openReader(cluster: Cluster, options: Surroundings & { home: string }): Promise<Reader> {
  const { home } = options;
  const blocks = new Map(readGuide().map((block) => [block.id, block]));
  const unread = new Set<Followed>(FOLLOWED);
  const terminal = await openTerminal({
    home,
    env: { KUBECONFIG: cluster.kubeconfig },
    programs: programs(),
    standIns: { kubectl: kubeletOf(cluster), "kafka-topics": kafkaTopics(options) },
  });
  const filledIn = fillingsOf(options, join(home, "programs"));
  const printed: string[] = [];

  function take(id: Followed): string {
    const block = blocks.get(id);
    if (block === undefined) throw new Error(`docs/kubernetes.md has no block ${id}`);
    unread.delete(id);
    return filledIn.reduce((text, [theirs, ours]) => text.replaceAll(theirs, ours), block.text);
  }

  return {
    async follow(id) {
      const said = await terminal.run(take(id));
      printed.push(said);
      return said;
    },
    leave: (id, sign) => terminal.leave(take(id), sign),
    understand: (id) => withHashes(parse(take(id)) as Tree, printed.join("\n")),
    writeValues(...trees) {
      const values = trees.reduce<Tree>((under, over) => merged(under, over) as Tree, {});
      const text = stringify(values, { aliasDuplicateObjects: false });
      expect(text).not.toMatch(/\bHASH\b|DIGEST-OF/);
      writeFileSync(join(terminal.directory, "values.yaml"), text);
    },
    token: (role) => readFileSync(join(terminal.directory, `secrets/${role}-token`), "utf8").trim(),
    unread: () => [...unread],
    close: () => terminal.close(),
  };
}

/** What the guide calls something to fill in, and what it is here. Everything else of a block stays as it is. */
function fillingsOf({ brokers, postgresUrl }: Surroundings, kafkaPrograms: string): [theirs: string, ours: string][] {
  const filledIn: [string, string][] = [
    ["postgres://nightshift:PASSWORD@postgres:5432/nightshift?sslmode=verify-full", postgresUrl],
    // One broker, as docs/production.md has it.
    [
      "KAFKA_BROKERS=kafka-0.kafka:9092 KAFKA_BIN=/opt/kafka/bin",
      `KAFKA_REPLICAS=1 KAFKA_MIN_IN_SYNC=1 KAFKA_BROKERS=${brokers.join(",")} KAFKA_BIN=${kafkaPrograms}`,
    ],
    ['["kafka-0.kafka:9092", "kafka-1.kafka:9092", "kafka-2.kafka:9092"]', JSON.stringify(brokers)],
    ["DIGEST-OF-NIGHTSHIFT", DIGEST],
    ["DIGEST-OF-THE-TRAINER", DIGEST],
    // Nothing leads out of where the pods live, and the shop's model is small.
    ["/app/.venv/bin/hf download Qwen/Qwen3-4B --local-dir /models/qwen3-4b", `cp -R ${ROOT}/deploy/quickstart/model /models/qwen3-4b`],
  ];
  const guide = readGuide().map(({ text }) => text);
  expect(filledIn.filter(([theirs]) => !guide.some((text) => text.includes(theirs)))).toEqual([]);
  return filledIn;
}

/** Before the machine's own: the tests' helm and kubectl, and what stands in for what is not here. */
function programs(): Record<string, string> {
  const { helm, kubectl } = helmPrograms();
  return {
    helm: `exec ${helm} "$@"`,
    // What a node answers, not the API server, is answered by the test.
    kubectl: [
      'for word in "$@"; do case "$word" in --) break ;; exec | logs | port-forward) exec $STAND_IN kubectl "$@" ;; esac; done',
      `exec ${kubectl} "$@"`,
    ].join("\n"),
    // As npx finds the command of the package that it stands in, without asking the package manager.
    npx: '[ "$1" = nightshift ] && shift && exec node deploy/nightshift.mjs "$@"',
    "kafka-topics.sh": 'exec $STAND_IN kafka-topics "$@"',
  };
}

/** Kafka's script, which its jars do not have: as much of it as deploy/compose/topics.sh asks for. */
function kafkaTopics({ brokers, createTopic }: Surroundings): StandIn {
  return async ({ args, say }) => {
    const rest = [...args];
    const flag = (name: string): string[] => {
      const found: string[] = [];
      for (let at = rest.indexOf(name); at !== -1; at = rest.indexOf(name)) found.push(rest.splice(at, 2)[1] ?? "");
      return found;
    };
    const [[server], [topic = ""], [partitions], [replicas]] = [
      ...[flag("--bootstrap-server"), flag("--topic")],
      ...[flag("--partitions"), flag("--replication-factor")],
    ] as [string[], string[], string[], string[]];
    const config = Object.fromEntries(flag("--config").map((one) => one.split("=") as [string, string]));
    expect({ server, replicas, rest }).toEqual({ server: brokers.join(","), replicas: "1", rest: ["--create", "--if-not-exists"] });
    await createTopic(topic, { partitions: Number(partitions), config });
    say(`Created topic ${topic}.\n`);
    return 0;
  };
}

/** The guide's `[HASH]`s, by the keys that `nightshift token` has named, and the digest of the base model that its Job has printed. */
function withHashes(tree: Tree, printed: string): Tree {
  const hashes = [...printed.matchAll(/^hash +([0-9a-f]{64})\nAdd the hash to (\S+) in the config/gm)].map(([, hash = "", key = ""]) => [
    key,
    hash,
  ]);
  const [base = ""] = /^sha256:[0-9a-f]{64}$/m.exec(printed) ?? [];
  const fill = (node: unknown, path: string): unknown => {
    if (node === "sha256:DIGEST-OF-THE-BASE-MODEL") return base;
    if (Array.isArray(node) && node[0] === "HASH") return hashes.filter(([key]) => path === `config.${key}`).map(([, hash]) => hash);
    if (Array.isArray(node) || node === null || typeof node !== "object") return node;
    return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, fill(value, path === "" ? key : `${path}.${key}`)]));
  };
  return fill(tree, "") as Tree;
}

/** Lists are replaced, and so is a block that is to be of another driver: its other keys would mean nothing. */
function merged(under: unknown, over: unknown): unknown {
  const isTree = (value: unknown): value is Tree => value !== null && typeof value === "object" && !Array.isArray(value);
  if (!isTree(under) || !isTree(over)) return over;
  if ("driver" in over && over["driver"] !== under["driver"]) return over;
  return { ...under, ...Object.fromEntries(Object.entries(over).map(([key, value]) => [key, merged(under[key], value)])) };
}
