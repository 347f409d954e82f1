import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { runCli } from "../../src/cli/program.ts";
import { readCompose, readComposeConfig, secretsOf, type Service } from "./compose-file.ts";
import { listedServers } from "../../src/config-policy-servers.ts";

const deploy = join(import.meta.dirname, "../../deploy");
const compose = readCompose();
const config = readComposeConfig();
const services = Object.entries(compose.services).map(([name, service]) => ({ name, service }));
const ours = services.filter(({ service }) => service.image.startsWith("nightshift"));
const serviceOf = (name: string): Service => {
  const found = compose.services[name];
  if (found === undefined) throw new Error(`no service ${name}`);
  return found;
};
/** Why a container starts as root. */
const ROOT_BECAUSE: Readonly<Record<string, string>> = {
  postgres: "owns its volume and reads its password, then becomes the user postgres",
};

describe("every container", () => {
  test.each(services)("$name: a pinned image, not root, nothing published beyond loopback", ({ name, service }) => {
    expect(service.image).toMatch(/:v?\d+\.\d+(\.\d+)?(-[a-z]+)?$/);
    if (name in ROOT_BECAUSE) expect(service.user).toBeUndefined();
    else expect(service.user).toMatch(/^(?!root|0)[a-z0-9]+(:\d+)?$/);
    for (const port of service.ports ?? []) expect(port).toMatch(/^127\.0\.0\.1:\d+:\d+$/);
    expect(Object.keys(service.environment ?? {}).filter((key) => /TOKEN|SECRET|KEY|PASSWORD$/.test(key))).toEqual([]);
  });

  test.each(services)("$name: comes back after a failure, has time to end, and says whether it is well", ({ service }) => {
    if (service.restart === "on-failure") return;
    expect(service.restart).toBe("unless-stopped");
    expect(Number.parseInt(service.stop_grace_period ?? "0", 10)).toBeGreaterThanOrEqual(30);
    expect(service.healthcheck).toMatchObject({ test: expect.arrayContaining(["CMD"]) as string[] });
  });

  test.each(services)("$name: what it names exists", ({ service }) => {
    for (const { source } of secretsOf(service)) expect(compose.secrets).toHaveProperty([source]);
    for (const network of service.networks) expect(compose.networks).toHaveProperty([network]);
    for (const { source } of service.configs ?? []) expect(existsSync(join(deploy, compose.configs[source]?.file ?? "missing"))).toBe(true);
    for (const one of service.volumes ?? []) {
      if (typeof one === "string") expect(compose.volumes).toHaveProperty([one.split(":")[0] ?? ""]);
      else if (one.source.startsWith(".")) expect(existsSync(join(deploy, one.source))).toBe(true);
    }
    for (const [name, { condition }] of Object.entries(service.depends_on ?? {})) {
      const before = serviceOf(name);
      if (condition === "service_healthy") expect(before.healthcheck).toHaveProperty("test");
      if (condition === "service_completed_successfully") expect(before.restart).toBe("on-failure");
    }
  });
});

describe("our processes", () => {
  test.each(ours)("$name: read-only root, no capabilities, no new privileges", ({ service }) => {
    expect(service).toMatchObject({ read_only: true, cap_drop: ["ALL"], security_opt: ["no-new-privileges:true"], user: "2000:2000" });
    expect(existsSync(join(deploy, service.build?.context ?? "", service.build?.dockerfile ?? ""))).toBe(true);
  });

  test.each(ours)("$name: the command line is one that nightshift takes", async ({ service }) => {
    const said: string[] = [];
    const say = (text: string): void => void said.push(text);
    const context = { env: {}, out: say, err: say, colours: false, signal: new AbortController().signal };
    // The file is not there: an option that did not exist would have been refused before it is looked for.
    expect(await runCli(service.command ?? [], context)).toBe(2);
    expect(said.join("\n")).toContain("/etc/nightshift/nightshift.yaml");
    expect(said.join("\n")).not.toContain("unknown option");
  });

  test.each(ours)("$name: every file that its command line names is there", ({ service }) => {
    const given = [...(service.configs ?? []).map(({ target }) => target), ...secretsOf(service).map(({ path }) => path)];
    for (const word of service.command ?? []) if (word.startsWith("/")) expect(given).toContain(word);
  });

  test("health checks ask the address that the process listens on", () => {
    const ports = {
      collector: config.collector.port,
      gateway: config.gateway.port,
      serve: config.api.port,
      "adapter-agent-0": config.adapterAgent.port,
    };
    const grpc: Readonly<Record<string, string>> = { collector: "4317" };
    for (const [name, port] of Object.entries(ports)) {
      expect(JSON.stringify(serviceOf(name).healthcheck)).toContain(`http://127.0.0.1:${port}/`);
      const published = (serviceOf(name).ports ?? []).map((mapping) => mapping.split(":").at(-1));
      expect([String(port), grpc[name]]).toEqual(expect.arrayContaining(published));
    }
  });
});

describe("the config", () => {
  test("starts nothing open: beyond loopback a process wants a token first", () => {
    expect([config.collector.host, config.gateway.host, config.api.host]).toEqual(["0.0.0.0", "0.0.0.0", "0.0.0.0"]);
    expect([
      ...Object.values(config.api.tokens).flat(),
      ...Object.values(config.tenants).flatMap((one) => one.collectorTokenHashes),
    ]).toEqual([]);
  });

  test("names services by their addresses", () => {
    const addresses = [config.gateway.controlUrl, config.gateway.collectorUrl, config.adapterAgent.controlUrl].map(
      (url) => new URL(url ?? ""),
    );
    expect(addresses.map(({ hostname, port }) => `${hostname}:${port}`)).toEqual([
      `serve:${config.api.port}`,
      `collector:${config.collector.port}`,
      `serve:${config.api.port}`,
    ]);
    if (config.transport.driver !== "kafka") throw new Error("no Kafka");
    expect(serviceOf("kafka").environment?.["KAFKA_ADVERTISED_LISTENERS"]).toBe(`PLAINTEXT://${config.transport.brokers[0]}`);
  });

  test("finds its secrets where the processes that read them have them", () => {
    if (config.store.driver !== "postgres") throw new Error("no PostgreSQL");
    const readers = [
      { path: config.store.urlFile, of: ["ingest", "serve"] },
      { path: config.tenants["default"]?.redactionKeyFile, of: ["collector", "ingest"] },
      { path: config.gateway.collectorTokenFile, of: ["gateway"] },
      { path: config.adapterAgent.publicKeyFile, of: ["adapter-agent-0"] },
      { path: `${config.dataDir}/keys/adapter-signing.pem`, of: ["serve"] },
      { path: `${config.dataDir}/keys/adapter-signing.pub.pem`, of: ["serve"] },
    ];
    for (const { path, of } of readers)
      for (const name of of)
        expect({ name, paths: secretsOf(serviceOf(name)).map((one) => one.path) }).toMatchObject({
          paths: expect.arrayContaining([path]) as string[],
        });
    // The key that signs adapters is nobody else's.
    expect(
      services.filter(({ service }) => secretsOf(service).some(({ source }) => source === "signing-key")).map(({ name }) => name),
    ).toEqual(["serve"]);
  });

  test("is scraped: every process of ours is a target, at the port that it listens on", () => {
    expect(config.telemetry.prometheus?.host).toBe("0.0.0.0");
    const { scrape_configs: jobs } = parse(readFileSync(join(deploy, "compose/prometheus.yml"), "utf8")) as {
      scrape_configs: { dns_sd_configs: { names: string[]; port: number }[] }[];
    };
    const targets = jobs.flatMap(({ dns_sd_configs: found }) => found);
    expect(targets.map(({ port }) => port)).toEqual([config.telemetry.prometheus?.port]);
    expect(targets.flatMap(({ names }) => names).toSorted()).toEqual(ours.map(({ name }) => name).toSorted());
    for (const name of targets.flatMap(({ names }) => names)) {
      const networks = serviceOf(name).networks;
      expect(networks.some((network) => serviceOf("prometheus").networks.includes(network))).toBe(true);
    }
  });

  test("shares artifacts between all that write or read them, at one path", () => {
    const mounted = services
      .filter(({ service }) =>
        service.volumes?.some((one) => typeof one === "string" && one.startsWith(`artifacts:${config.dataDir}/artifacts`)),
      )
      .map(({ name }) => name);
    expect(mounted.toSorted()).toEqual(["adapter-agent-0", "collector", "ingest", "serve", "vllm-0"]);
  });
});

describe("vLLM", () => {
  const agent = Object.values(config.agents)[0];
  const flags = new Map(
    (serviceOf("vllm-0").command ?? []).map((word) => {
      const [flag = "", value] = word.split("=");
      return [flag, value] as const;
    }),
  );

  test("serves what the config names, with what doctor asks for", () => {
    expect(serviceOf("vllm-0").command?.[0]).toBe(agent?.baseModel);
    expect(flags.get("--served-model-name")).toBe(agent?.model);
    expect(Number(flags.get("--max-lora-rank"))).toBeGreaterThanOrEqual(agent?.night.lora.rank ?? Number.POSITIVE_INFINITY);
    expect(Number(flags.get("--max-loras"))).toBeGreaterThanOrEqual(4);
    expect(Number(flags.get("--max-cpu-loras"))).toBeGreaterThanOrEqual(6);
    expect(flags.get("--logprobs-mode")).toBe("processed_logprobs");
    expect(flags.get("--scheduling-policy")).toBe("priority");
    expect(flags.has("--enable-lora")).toBe(true);
    expect(serviceOf("vllm-0").environment?.["VLLM_ALLOW_RUNTIME_LORA_UPDATING"]).toBe("True");
  });

  test("has an adapter agent per replica, and is published nowhere", () => {
    for (const server of agent === undefined ? [] : listedServers(agent)) {
      expect(server.adapterAgent).toBe(true);
      expect(serviceOf(new URL(server.url).hostname).ports).toBeUndefined();
      const agents = ours.filter(({ service }) => service.command?.[0] === "adapter-agent" && service.command.includes(server.name ?? ""));
      expect(agents).toHaveLength(1);
    }
  });
});
