import type { Config, PostgresConfig } from "../config.ts";
import { discoveryOf, listedServers } from "../config-policy-servers.ts";
import { nightshiftError } from "../errors.ts";

/** The config of a process that is one of several: `up` has embedded parts, which end in one process. @throws NightshiftError `config_invalid` with what to use instead */
export function requireKafka({ transport }: Pick<Config, "transport">, process: string): void {
  if (transport.driver === "kafka") return;
  throw configInvalid(
    "transport.driver",
    transport.driver,
    `the inline transport ends in one process; ${process} needs kafka, or use \`nightshift up\``,
  );
}

/** As `requireKafka`, for the store. */
export function requirePostgres({ store }: Pick<Config, "store">, process: string): PostgresConfig {
  if (store.driver === "postgres") return store;
  throw configInvalid(
    "store.driver",
    store.driver,
    `the embedded database has one process; ${process} needs postgres, or use \`nightshift up\``,
  );
}

/** As `requireKafka`, for policy servers. */
export function requirePolicyServers({ agents }: Pick<Config, "agents">, process: string): void {
  for (const [agent, config] of Object.entries(agents)) {
    if (discoveryOf(config) !== null || listedServers(config).length > 0) continue;
    throw configInvalid(
      `agents.${agent}.policyServers`,
      config.policyServers,
      `${process} starts no embedded server, which other processes could not share: name the replicas, or have them discovered`,
    );
  }
}

/** A value that only this process cannot use. */
export function configInvalid(path: string, received: unknown, problem: string): Error {
  return nightshiftError("config_invalid", { path, received: JSON.stringify(received) ?? "nothing", problem });
}
