import type { Config } from "../config.ts";
import type { Logger } from "../log.ts";
import { createInlineTransport } from "../transport/inline.ts";
import { createKafkaTransport } from "../transport/kafka.ts";
import type { Transport } from "../transport/transport.ts";

/** The configured transport, which connects when it is first used. @throws NightshiftError `kafka_file_unreadable` */
export function openTransport(config: Config["transport"], deps: { log: Logger }): Transport {
  return config.driver === "kafka" ? createKafkaTransport(config, deps) : createInlineTransport(deps);
}
