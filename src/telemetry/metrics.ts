import { JUDGE_METRIC } from "./judge-metrics.ts";
import { PROMOTION } from "./metrics-promotion.ts";
import { REPLAY } from "./metrics-replay.ts";
import { STATE } from "./metrics-state.ts";
import { TRAINER } from "./metrics-trainer.ts";

/** Everything that Nightshift measures of itself: instruments are created from this table only, and docs/metrics.md is made from it. */
export interface MetricDefinition {
  name: `nightshift.${string}`;
  kind: "counter" | "histogram" | "gauge" | "observable gauge";
  /** UCUM; braces around what is counted. Another one needs its suffix in `prometheus-names.ts`. */
  unit: "s" | "By" | "1" | `{${string}}`;
  description: string;
  attributes: readonly MetricAttribute[];
  /** Upper bounds of a histogram's buckets, in `unit`. The SDK's own are meant for milliseconds. */
  bounds?: readonly number[];
}

/** Attributes of metrics. All have few values: no id of a trace, conversation, trajectory or run is among them. */
export const METRIC_ATTRIBUTE = {
  "error.type": "Why it failed: an error code or another of a few fixed words. Absent on success.",
  "gen_ai.request.model": "Model of the judge or simulator.",
  "gen_ai.token.type": "`input` or `output`.",
  "http.response.status_code": "Status that was answered. Absent when the sender left before.",
  "nightshift.adapter.name": "Adapter that answered, by its immutable name, or the base model's; `none` when nothing answered.",
  "nightshift.adapter.state": "`attested`, `waiting` (not up or not proven yet) or `refused`.",
  "nightshift.agent": "Slug of the agent.",
  "nightshift.assignment.arm": "`stable` or `candidate`.",
  "nightshift.event": "Event of the promotion's state table.",
  "nightshift.evidence":
    "`promote` (K⁺), `harm` (K⁻), a guardrail (`server_error`, `tool_failure`, `refusal`, `timeout`, `fallback`, `cost`, `slow_first_token`), or `sample_ratio`.",
  "nightshift.kind": "What was removed: `conversations`, `spans`, `groups`, `run_directories` and so on; or who was asked.",
  "nightshift.loop":
    "`assembly`, `promotion`, `night`, `routes` (a look at what the leader says), `leadership` (its heartbeat), `upkeep` (erasures), `retention`, `disturbances` or `state` (what `serve` tells of the database).",
  "nightshift.outcome": "How it ended; the metric's description names the words.",
  "nightshift.protocol": "`http` or `grpc`.",
  "nightshift.reason": "Why; one of a few fixed words.",
  "nightshift.replica": "Name of the policy server.",
  "nightshift.rung": "Where replay's answer came from: `R0` to `R7`, or `agent_error`.",
  "nightshift.run.step": "Kind of the durable step: its name without the iteration or scenario.",
  "nightshift.signal": "`traces`, `logs`, `metrics`, or `unknown` for another path.",
  "nightshift.state": "State of a promotion (`registered` to `refused`); of a run without an end `working` or `waiting`.",
  "rpc.response.status_code": "gRPC status that was answered, as a number. Absent over HTTP and when the sender left before.",
} as const;
export type MetricAttribute = keyof typeof METRIC_ATTRIBUTE;

const SHORT_S = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 30];
const REQUEST_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const WORK_S = [0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3_600, 14_400];

const COLLECTOR = {
  collectorRecords: {
    name: "nightshift.collector.records",
    kind: "counter",
    unit: "{record}",
    description: "Spans and log records in answered requests, by outcome: `accepted` (durable), or `rejected` for unusable ids.",
    attributes: ["nightshift.signal", "nightshift.outcome"],
  },
  collectorRequestDuration: {
    name: "nightshift.collector.request.duration",
    kind: "histogram",
    unit: "s",
    description:
      "OTLP requests from their headers to their answer. 503 (gRPC 14): the store or the memory budget; metrics are taken and dropped.",
    attributes: ["nightshift.signal", "nightshift.protocol", "http.response.status_code", "rpc.response.status_code"],
    bounds: REQUEST_S,
  },
  collectorInFlight: {
    name: "nightshift.collector.in_flight",
    kind: "observable gauge",
    unit: "By",
    description: "Bytes of request bodies held, compressed and inflated ones together; `collector.maxInFlightBytes` is their bound.",
    attributes: [],
  },
  redactionTexts: {
    name: "nightshift.redaction.texts",
    kind: "counter",
    unit: "{text}",
    description:
      "Texts of telemetry that the collector changed: `replaced` (a secret or personal data taken out), or `dropped` because they could not be examined.",
    attributes: ["nightshift.signal", "nightshift.outcome"],
  },
  ingestDelay: {
    name: "nightshift.ingest.delay",
    kind: "histogram",
    unit: "s",
    description: "Age of an accepted request when ingest was done with it, committed or failed. What failed is delivered or sent again.",
    attributes: ["nightshift.signal", "error.type"],
    bounds: REQUEST_S,
  },
  ingestStored: {
    name: "nightshift.ingest.stored",
    kind: "counter",
    unit: "{record}",
    description: "Spans and log events that were new or changed. Repeated deliveries and Nightshift's own spans are none.",
    attributes: ["nightshift.signal"],
  },
  ingestRefused: {
    name: "nightshift.ingest.refused",
    kind: "counter",
    unit: "{record}",
    description: "Spans and log events that were not stored because they are of somebody who was erased.",
    attributes: ["nightshift.signal"],
  },
  transportLag: {
    name: "nightshift.transport.lag",
    kind: "gauge",
    unit: "{record}",
    description:
      "Kafka records that the consumer group of ingest has not committed yet, over all partitions. Every ingest process tells the same.",
    attributes: ["nightshift.signal"],
  },
  transportDeadLetters: {
    name: "nightshift.transport.dead_letters",
    kind: "counter",
    unit: "{record}",
    description: "Kafka records that ingest refused for good and put into the dead-letter topic, by why.",
    attributes: ["nightshift.signal", "error.type"],
  },
  assemblyTrajectories: {
    name: "nightshift.assembly.trajectories",
    kind: "counter",
    unit: "{trajectory}",
    description: "New trajectory versions, by verdict: `trainable` or `untrainable`.",
    attributes: ["nightshift.agent", "nightshift.outcome"],
  },
  assemblyReasons: {
    name: "nightshift.assembly.reasons",
    kind: "counter",
    unit: "{trajectory}",
    description: "Untrainable trajectory versions that have this reason; one may have several.",
    attributes: ["nightshift.agent", "nightshift.reason"],
  },
} as const satisfies Record<string, MetricDefinition>;

const GATEWAY = {
  gatewayRequests: {
    name: "nightshift.gateway.requests",
    kind: "counter",
    unit: "{request}",
    description: "Live calls of an agent, by who answered and how it ended.",
    attributes: ["nightshift.agent", "nightshift.assignment.arm", "nightshift.adapter.name", "http.response.status_code", "error.type"],
  },
  gatewayAddedLatency: {
    name: "nightshift.gateway.added_latency",
    kind: "histogram",
    unit: "s",
    description: "From a call's last byte to the answer's headers, without the time at policy servers; with the wait for a free one.",
    attributes: ["nightshift.agent"],
    bounds: SHORT_S,
  },
  gatewayFailovers: {
    name: "nightshift.gateway.failovers",
    kind: "counter",
    unit: "{attempt}",
    description: "Attempts that failed before their first byte and were repeated with the same adapter.",
    attributes: ["nightshift.agent", "nightshift.reason"],
  },
  gatewayFallbacks: {
    name: "nightshift.gateway.fallbacks",
    kind: "counter",
    unit: "{request}",
    description: "Live calls that another target than the assigned one had to answer.",
    attributes: ["nightshift.agent", "nightshift.reason"],
  },
  gatewayLeaseLapses: {
    name: "nightshift.gateway.lease_lapses",
    kind: "counter",
    unit: "{lapse}",
    description: "Times that the candidate's weight fell to 0 because the control plane was silent for gateway.leaseMs.",
    attributes: ["nightshift.agent"],
  },
  gatewayLeaseAge: {
    name: "nightshift.gateway.lease.age",
    kind: "observable gauge",
    unit: "s",
    description:
      "Time since the leader of the control service last stood by the routes that this gateway has, or since it started. From gateway.leaseMs on no candidate gets a call here.",
    attributes: ["nightshift.agent"],
  },
  gatewayCaptureLost: {
    name: "nightshift.gateway.capture.lost",
    kind: "counter",
    unit: "{span}",
    description: "Spans of live calls that never reached the collector: `no_room` or `export_failed`. The calls themselves were answered.",
    attributes: ["nightshift.reason"],
  },
  gatewayRouteVersion: {
    name: "nightshift.gateway.route.version",
    kind: "observable gauge",
    unit: "{version}",
    description: "Newest route version that this gateway knows. Gateways that differ for long do not reach the control plane.",
    attributes: ["nightshift.agent"],
  },
  gatewayCandidateWeight: {
    name: "nightshift.gateway.candidate.weight",
    kind: "observable gauge",
    unit: "1",
    description: "Share of assignment keys that the candidate gets at this gateway now; 0 outside a canary and with its lease lapsed.",
    attributes: ["nightshift.agent"],
  },
  replicaAdapters: {
    name: "nightshift.replica.adapters",
    kind: "gauge",
    unit: "{adapter}",
    description: "Adapters that this policy server should serve, by agent and state at the last pass of its adapter agent.",
    attributes: ["nightshift.replica", "nightshift.agent", "nightshift.adapter.state"],
  },
} as const satisfies Record<string, MetricDefinition>;

const NIGHT = {
  controlLeader: {
    name: "nightshift.control.leader",
    kind: "gauge",
    unit: "{leader}",
    description:
      "1 where this replica of the control service leads, else 0. The sum over all replicas is 1, or 0 for the seconds between two leaders.",
    attributes: [],
  },
  loopTurnDuration: {
    name: "nightshift.loop.turn.duration",
    kind: "histogram",
    unit: "s",
    description: "Turns of the loops that drive everything. No new turns of `promotion` or `assembly` for a minute: something hangs.",
    attributes: ["nightshift.loop", "error.type"],
    bounds: WORK_S,
  },
  runStepDuration: {
    name: "nightshift.run.step.duration",
    kind: "histogram",
    unit: "s",
    description: "Durable steps of nights that were worked on. A step read back from the store is none.",
    attributes: ["nightshift.run.step", "error.type"],
    bounds: WORK_S,
  },
  runs: {
    name: "nightshift.runs",
    kind: "counter",
    unit: "{run}",
    description: "Ended nights, by outcome: `candidate`, `nothing_to_learn`, `no_capacity` or `failed`.",
    attributes: ["nightshift.agent", "nightshift.outcome", "error.type"],
  },
  ...REPLAY,
  erasures: {
    name: "nightshift.erasures",
    kind: "counter",
    unit: "{erasure}",
    description: "Erasures whose rows, objects and files are all gone.",
    attributes: [],
  },
  retentionRemoved: {
    name: "nightshift.retention.removed",
    kind: "counter",
    unit: "{item}",
    description: "What was older than its tenant keeps and was removed, by kind.",
    attributes: ["nightshift.kind"],
  },
  alarms: {
    name: "nightshift.alarms",
    kind: "counter",
    unit: "{alarm}",
    description:
      "Nights whose rewards seem to pay for something beside the task, by what: `length`, `tool_calls`, `refusal`, `simulated_share`, `novelty`, `phrase`, or that a second judge sees otherwise (`second_judge`). The candidate waits for an operator.",
    attributes: ["nightshift.agent", "nightshift.reason"],
  },
  offTapeAnswers: {
    name: "nightshift.replay.off_tape",
    kind: "counter",
    unit: "{answer}",
    description:
      "Answers that rollouts asked for beyond their tapes, by whom (`simulator`, `live_read`, `user`): `answered`, `none` (off the rules, refused or failed), or `unavailable` (its server is at fault).",
    attributes: ["nightshift.agent", "nightshift.kind", "nightshift.outcome"],
  },
  ...TRAINER,
} as const satisfies Record<string, MetricDefinition>;

/** In the order of the walk. */
export const METRIC = { ...COLLECTOR, ...GATEWAY, ...NIGHT, ...JUDGE_METRIC, ...PROMOTION, ...STATE } as const satisfies Record<
  string,
  MetricDefinition
>;
