import type { IHeaders, Message } from "kafkajs";
import type { NightshiftError } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import { createCounter } from "../../telemetry/instruments.ts";
import { METRIC } from "../../telemetry/metrics.ts";
import type { TransportRecord } from "../transport.ts";
import { isTooLarge } from "./failure.ts";

/** Where a record lay. */
export interface Source {
  topic: string;
  partition: number;
  offset: string;
  signal: TransportRecord["signal"];
}

/** Puts records aside that ingest refuses for good, so that those behind them go on. */
export interface DeadLetters {
  /** Resolves once the brokers have the record; rejects when they do not take it now. */
  put(
    message: { key: Buffer | null; value: Buffer | null; headers?: IHeaders | undefined },
    source: Source,
    why: NightshiftError,
  ): Promise<void>;
}

/** Headers of a dead letter, beside those that the record came with. */
const DEAD_LETTER_HEADER = {
  code: "nightshift-error-code",
  problem: "nightshift-error",
  topic: "nightshift-source-topic",
  partition: "nightshift-source-partition",
  offset: "nightshift-source-offset",
  bodyDropped: "nightshift-body-dropped",
} as const;

const MAX_PROBLEM_CHARACTERS = 500;

/** Writes the record as it came to the dead-letter topic, with the reason and where it lay in its headers. */
export function createDeadLetters(
  topic: string,
  deps: { send: (topic: string, message: Message) => Promise<void>; log: Logger },
): DeadLetters {
  const counter = createCounter(METRIC.transportDeadLetters);
  return {
    async put({ key, value, headers }, source, why) {
      const letter: Message = {
        key,
        value,
        headers: {
          ...headers,
          [DEAD_LETTER_HEADER.code]: why.code,
          [DEAD_LETTER_HEADER.problem]: why.message.slice(0, MAX_PROBLEM_CHARACTERS),
          [DEAD_LETTER_HEADER.topic]: source.topic,
          [DEAD_LETTER_HEADER.partition]: String(source.partition),
          [DEAD_LETTER_HEADER.offset]: source.offset,
        },
      };
      try {
        await deps.send(topic, letter);
      } catch (error) {
        if (!isTooLarge(error)) throw error;
        // Its own topic took it, this one is set smaller: the pointer is worth more than a partition that stands still.
        await deps.send(topic, { ...letter, value: null, headers: { ...letter.headers, [DEAD_LETTER_HEADER.bodyDropped]: "true" } });
      }
      counter.add(1, { "nightshift.signal": source.signal, "error.type": why.code });
      const { topic: from, partition, offset } = source;
      deps.log.error({ code: why.code, problem: why.message, fix: why.fix, topic: from, partition, offset }, "record put aside");
    },
  };
}
