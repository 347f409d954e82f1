import type { ArtifactStore } from "../src/artifact/artifact-store.ts";
import type { Config } from "../src/config.ts";
import { giveBack } from "../src/give-back.ts";
import type { Logger } from "../src/log.ts";
import { createCounter, createHistogram, observeGauge, secondsSince } from "../src/telemetry/instruments.ts";
import { METRIC } from "../src/telemetry/metrics.ts";
import { encodeJsonRequest } from "../src/trace/otlp-json.ts";
import type { Redactor } from "../src/trace/redact-request.ts";
import type { Signal } from "../src/trace/wire.ts";
import type { Transport } from "../src/transport/transport.ts";
import { createBudget, openBody, readWire, SPARE_BYTES, type Body, type Budget, type Incoming, type Lease } from "./body.ts";
import { publishRequest, refuseMalformed, type Accepted } from "./publish.ts";
import { Refusal, unavailable } from "./reply.ts";
import type { TenantOf } from "./tenant.ts";
import { createTurns } from "./turns.ts";

export type Protocol = "http" | "grpc";

/** What an exporter may send; metrics are taken and dropped, so that an SDK which exports all three does not complain. */
export type Offered = Signal | "metrics";

export interface IntakeDeps {
  transport: Transport;
  /** For what is larger than a record of the transport. */
  artifacts: ArtifactStore;
  log: Logger;
  /** Null when redaction is switched off on purpose. */
  redactor: Redactor | null;
  tenant: TenantOf;
  /** Milliseconds since the epoch; tests set it. */
  now?: () => number;
}

/** What happens to a request whichever protocol brought it. */
export interface Intake {
  /** The tenant of the credential, before a byte of the body is read. @throws Refusal 401 or 503 */
  admit(authorization: string | undefined): string;
  /** Reads, redacts and publishes one request. Resolves when the transport has it durably. @throws Refusal 400, 413 or 503 */
  take(body: Incoming, about: { tenant: string; signal: Offered; format: "protobuf" | "json" }): Promise<Accepted>;
  /** What a failure is answered with; what was not foreseen is logged and told to nobody. */
  refusalOf(cause: unknown): Refusal;
  /** Counts one answered request. @param status the protocol's own, absent when the sender had gone */
  answered: (protocol: Protocol, signal: Offered | "unknown", startMs: number, status: { http?: number; grpc?: number }) => void;
  /** From here on nothing is admitted. */
  drain(): void;
  readonly isDraining: boolean;
}

/** Inflated bytes that are worked on at once, about: what a broker in the same network answers meanwhile keeps one core busy. */
const WORKING_BYTES = 4 * 1024 * 1024;
/** By which telemetry inflates. */
const USUAL_RATIO = 4;

const NOTHING: Accepted = { accepted: 0, rejected: 0, problem: "" };

export function createIntake(config: Config["collector"], deps: IntakeDeps): Intake {
  const { log, now = Date.now } = deps;
  const budget = createBudget(config.maxInFlightBytes);
  const limits = { maxBytes: config.maxBodyBytes, budget };
  const turns = createTurns(WORKING_BYTES);
  const meters = createMeters(budget);
  let isDraining = false;

  async function publish(body: Body, format: "protobuf" | "json", tenant: string, signal: Signal) {
    const isJson = format === "json";
    const bytes = isJson ? refuseMalformed(() => encodeJsonRequest(body.bytes, signal)) : body.bytes;
    const wire = isJson ? null : body;
    const outcome = await publishRequest({ bytes, wire }, { tenant, signal, receivedAtMs: now() }, deps);
    meters.published(signal, outcome);
    if (outcome.rejected > 0) log.warn({ tenant, signal, rejected: outcome.rejected }, "records rejected");
    return outcome;
  }

  return {
    admit(authorization) {
      if (isDraining) throw unavailable("shutting down", 1_000);
      const tenant = deps.tenant(authorization);
      if (tenant === null) throw new Refusal(401, "a bearer token of a tenant is required", { headers: { "www-authenticate": "Bearer" } });
      return tenant;
    },
    async take(incoming, { tenant, signal, format }) {
      const lease: Lease = { bytes: 0 };
      let endTurn = (): void => {};
      let inflated: Uint8Array | null = null;
      try {
        const { wire, isCopy } = await readWire(incoming, limits, lease);
        if (signal === "metrics") return NOTHING;
        endTurn = await turns.take(wire.length * (incoming.encoding === "identity" ? 1 : USUAL_RATIO));
        const body = await openBody(wire, incoming.encoding, limits, lease);
        // No transport ever has these: what is published are the bytes as they came, or copies.
        if (body.bytes !== wire) inflated = body.bytes;
        const accepted = await publish(body, format, tenant, signal);
        // It is stored. What could not be may still be on its way.
        if (isCopy) giveBack(wire);
        return accepted;
      } finally {
        if (inflated !== null) giveBack(inflated, { spare: SPARE_BYTES });
        endTurn();
        budget.release(lease.bytes);
      }
    },
    refusalOf(cause) {
      if (cause instanceof Refusal) return cause;
      log.error({ err: cause }, "request failed");
      return new Refusal(500, "the request could not be processed");
    },
    answered: meters.answered,
    drain() {
      isDraining = true;
    },
    get isDraining() {
      return isDraining;
    },
  };
}

function createMeters(budget: Budget): { published(signal: Signal, outcome: Accepted): void } & Pick<Intake, "answered"> {
  const records = createCounter(METRIC.collectorRecords);
  const duration = createHistogram(METRIC.collectorRequestDuration);
  observeGauge(METRIC.collectorInFlight, (result) => result.observe(budget.held, {}));
  return {
    published(signal, { accepted, rejected }) {
      records.add(accepted, { "nightshift.signal": signal, "nightshift.outcome": "accepted" });
      records.add(rejected, { "nightshift.signal": signal, "nightshift.outcome": "rejected" });
    },
    answered(protocol, signal, startMs, { http, grpc }) {
      duration.record(secondsSince(startMs), {
        "nightshift.signal": signal,
        "nightshift.protocol": protocol,
        ...(http === undefined ? {} : { "http.response.status_code": http }),
        ...(grpc === undefined ? {} : { "rpc.response.status_code": grpc }),
      });
    },
  };
}
