import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLog } from "../../../src/log.ts";
import { createKafkaClient } from "../../../src/transport/kafka/client.ts";
import { until } from "../../e2e/processes.ts";
import { partDirectory, runTool, type Part } from "./part.ts";
import { freePort, startPartProcess, type PartProcess } from "./process.ts";

const VERSION = "4.1.0";

const POM = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>nightshift.test</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>${VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
`;

/** Apache Kafka from its jars: one process that is broker and controller. */
export const kafkaPart: Part = {
  name: "kafka",
  version: VERSION,
  sizeMb: 45,
  async fetch(dir, say) {
    say(`Apache Kafka ${VERSION} and its libraries, from Maven`);
    writeFileSync(join(dir, "pom.xml"), POM);
    const repository = join(dir, "repository");
    const args = ["-B", "-q", `-Dmaven.repo.local=${repository}`, "dependency:copy-dependencies", `-DoutputDirectory=${join(dir, "lib")}`];
    await runTool("mvn", args, { cwd: dir, problem: "Kafka's jars could not be fetched", fix: "Install a JDK >= 17 and Maven." });
    rmSync(repository, { recursive: true, force: true });
  },
};

/** A running broker with data of its own. */
export interface KafkaServer {
  /** What `transport.brokers` takes. */
  readonly brokers: string[];
  /** The same broker by TLS and with a login, where one was asked for. */
  readonly secureBrokers: string[];
  /** The same broker for clients that come over a network: the port that it has to lead to. 0 unless asked for. */
  readonly networkTarget: number;
  createTopic(topic: string, options?: { partitions?: number; config?: Record<string, string> }): Promise<void>;
  /** Records that a topic ever had, those included that its retention deleted. */
  written(topic: string): Promise<number>;
  /** SIGTERM: the broker closes its logs. */
  stop(): Promise<void>;
  /** kill -9. */
  kill(): Promise<void>;
  /** On the same data and the same port, after `stop` or `kill`. */
  restart(): Promise<void>;
  /** SIGSTOP: connections stay open, nothing is answered. */
  freeze(): void;
  thaw(): void;
  /** Ends it and deletes its data. */
  close(): Promise<void>;
}

/** A second listener, SASL over TLS: PLAIN and SCRAM-SHA-512 for one user. */
export interface SecureListener {
  /** PEM file with the broker's private key (PKCS 8) and its certificate for `localhost`. */
  keyAndCertificate: string;
  username: string;
  password: string;
}

interface StartOptions {
  /** False prepares it without starting it. */
  isUp?: boolean;
  secure?: SecureListener;
  /** A further listener, advertised under this port: a client that came over the network would else be led past it. */
  networkPort?: number;
  /** Where that one is, as its clients call it; 127.0.0.1 unless told. */
  networkHost?: string;
}

/** Starts a broker on loopback; topics are not made by themselves. */
export async function startKafka(options: StartOptions = {}): Promise<KafkaServer> {
  const dir = mkdtempSync(join(tmpdir(), "nightshift-kafka-"));
  const lib = join(partDirectory(kafkaPart), "lib", "*");
  const port = await freePort();
  const properties = join(dir, "server.properties");
  mkdirSync(join(dir, "data"));
  const ports = { port, controllerPort: await freePort(), securePort: await freePort() };
  const networkTarget = options.networkPort === undefined ? 0 : await freePort();
  const network = { target: networkTarget, host: options.networkHost ?? "127.0.0.1", port: options.networkPort ?? 0 };
  writeFileSync(properties, serverProperties({ ...ports, network, data: join(dir, "data"), secure: options.secure }));
  const clusterId = randomBytes(16).toString("base64url");
  const fix = "Delete .cache/parts/kafka-* and run again.";
  // One argument: every 64th id begins with a dash.
  const format = [
    "-cp",
    lib,
    "kafka.tools.StorageTool",
    "format",
    `--cluster-id=${clusterId}`,
    "-c",
    properties,
    ...scramUser(options.secure),
  ];
  await runTool("java", [...LIGHT_JVM, ...format], { problem: "Kafka's storage could not be formatted", fix });

  let server: PartProcess | null = null;
  const start = async (): Promise<void> => {
    const args = [...LIGHT_JVM, "-Xmx384m", "-cp", lib, "kafka.Kafka", properties];
    server = await startPartProcess("java", args, { readyLine: /Kafka Server started/, limitMs: 60_000 });
  };
  if (options.isUp ?? true) await start();
  const brokers = [`127.0.0.1:${port}`];
  return {
    brokers,
    secureBrokers: options.secure === undefined ? [] : [`localhost:${ports.securePort}`],
    networkTarget,
    createTopic: (topic, spec = {}) => createTopic(brokers, topic, spec),
    written: (topic) => written(brokers, topic),
    stop: async () => server?.stop(),
    kill: async () => server?.kill(),
    restart: start,
    freeze: () => signal(server, "SIGSTOP"),
    thaw: () => signal(server, "SIGCONT"),
    async close() {
      await server?.kill();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** Short-lived and small: the second compiler would cost more than it brings. */
const LIGHT_JVM = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=info"];

function scramUser(secure: SecureListener | undefined): string[] {
  return secure === undefined ? [] : ["--add-scram", `SCRAM-SHA-512=[name=${secure.username},password=${secure.password}]`];
}

function secureProperties({ keyAndCertificate, username, password }: SecureListener): string[] {
  const module = "org.apache.kafka.common.security";
  return [
    "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512",
    `listener.name.secure.plain.sasl.jaas.config=${module}.plain.PlainLoginModule required user_${username}="${password}";`,
    `listener.name.secure.scram-sha-512.sasl.jaas.config=${module}.scram.ScramLoginModule required;`,
    "listener.name.secure.ssl.keystore.type=PEM",
    `listener.name.secure.ssl.keystore.location=${keyAndCertificate}`,
  ];
}

interface Setup {
  port: number;
  controllerPort: number;
  securePort: number;
  network: { target: number; host: string; port: number };
  data: string;
  secure: SecureListener | undefined;
}

function serverProperties({ port, controllerPort, securePort, network, data, secure }: Setup): string {
  const one = ["offsets.topic", "transaction.state.log", "share.coordinator.state.topic"].map((topic) => `${topic}.replication.factor=1`);
  const clients = [`PLAINTEXT://127.0.0.1:${port}`, ...(secure === undefined ? [] : [`SECURE://localhost:${securePort}`])];
  const onNetwork = (host: string, at: number): string[] => (network.target === 0 ? [] : [`NETWORK://${host}:${at}`]);
  return [
    "process.roles=broker,controller",
    "node.id=1",
    `controller.quorum.voters=1@127.0.0.1:${controllerPort}`,
    `listeners=${[...clients, ...onNetwork("127.0.0.1", network.target), `CONTROLLER://127.0.0.1:${controllerPort}`].join(",")}`,
    `advertised.listeners=${[...clients, ...onNetwork(network.host, network.port)].join(",")}`,
    "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,NETWORK:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL",
    ...(secure === undefined ? [] : secureProperties(secure)),
    "controller.listener.names=CONTROLLER",
    "inter.broker.listener.name=PLAINTEXT",
    `log.dirs=${data}`,
    ...one,
    "transaction.state.log.min.isr=1",
    "share.coordinator.state.topic.min.isr=1",
    "offsets.topic.num.partitions=4",
    "group.initial.rebalance.delay.ms=0",
    // A broker that was killed is let in again once its old session is over.
    "broker.session.timeout.ms=3000",
    "broker.heartbeat.interval.ms=500",
    "auto.create.topics.enable=false",
    "",
  ].join("\n");
}

async function written(brokers: string[], topic: string): Promise<number> {
  const access = { brokers, clientId: "test", tls: undefined, sasl: undefined };
  const admin = createKafkaClient(access, { log: silentLog(), requestTimeoutMs: 10_000 }).admin();
  await admin.connect();
  const partitions = await admin.fetchTopicOffsets(topic);
  await admin.disconnect();
  return partitions.reduce((sum, { high }) => sum + Number(high), 0);
}

async function createTopic(
  brokers: string[],
  topic: string,
  { partitions = 1, config = {} }: { partitions?: number; config?: Record<string, string> },
): Promise<void> {
  const access = { brokers, clientId: "test", tls: undefined, sasl: undefined };
  const admin = createKafkaClient(access, { log: silentLog(), requestTimeoutMs: 10_000 }).admin();
  await admin.connect();
  const configEntries = Object.entries(config).map(([name, value]) => ({ name, value }));
  // kafkajs' own wait for leaders gives up at once where the broker does not know the topic yet.
  await admin.createTopics({ topics: [{ topic, numPartitions: partitions, replicationFactor: 1, configEntries }], waitForLeaders: false });
  await until(`topic ${topic}`, 30_000, async () => {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
    return topics[0]?.partitions.length === partitions ? true : null;
  });
  await admin.disconnect();
}

function signal(server: PartProcess | null, name: "SIGSTOP" | "SIGCONT"): void {
  if (server !== null) process.kill(server.pid, name);
}

/** Writes lines as records with Kafka's own Java client, in batches. */
export async function produceFromJava(
  { brokers }: KafkaServer,
  { topic, compression, lines }: { topic: string; compression: string; lines: readonly string[] },
): Promise<void> {
  const lib = join(partDirectory(kafkaPart), "lib", "*");
  const source = join(import.meta.dirname, "../kafka/Produce.java");
  const args = [...LIGHT_JVM, "-cp", lib, source, brokers.join(","), topic, compression];
  const child = spawn("java", args, { stdio: ["pipe", "ignore", "pipe"] });
  let tail = "";
  child.stderr.on("data", (chunk: Buffer) => (tail = (tail + chunk.toString()).slice(-2_000)));
  // A program that ends early says why on stderr; the broken pipe says less.
  child.stdin.on("error", () => {});
  child.stdin.end(`${lines.join("\n")}\n`);
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`the Java producer ended with exit code ${code}:\n${tail}`);
}
