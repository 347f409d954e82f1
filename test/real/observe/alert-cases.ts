/** A series of promtool: its name with labels, and its values minute by minute in promtool's notation (`0+5x60`: 0, 5, …, 300). */
export type Series = readonly [name: string, values: string];

/** What one alert says of hand-made numbers. */
export interface AlertCase {
  alert: string;
  /** Beside the alert's name: what tells two cases apart. */
  of: string;
  severity?: "critical";
  series: readonly Series[];
  /** The minute at which it fires, for what, and with which words. */
  fires: { atMinute: number; labels?: Readonly<Record<string, string>>; summary: string };
  /** A minute at which it does not yet, or no longer. */
  silentAtMinute?: number;
  /** Nearly the same, and well: no alert of all of them fires at `fires.atMinute`. */
  well: readonly Series[];
}

const SHOP = 'nightshift_agent="shop"';
const shop = { nightshift_agent: "shop" };
const requests = (code: number, values: string): Series => [
  `nightshift_gateway_requests_total{${SHOP},nightshift_assignment_arm="stable",nightshift_adapter_name="m",http_response_status_code="${code}"}`,
  values,
];
const adapters = (state: string, values: string): Series => [
  `nightshift_replica_adapters{nightshift_replica="vllm-1",${SHOP},nightshift_adapter_state="${state}"}`,
  values,
];
const leader = (instance: string, values: string): Series => [`nightshift_control_leader{instance="${instance}"}`, values];
const turns = (error: string, values: string): Series => [
  `nightshift_loop_turn_duration_seconds_count{nightshift_loop="assembly"${error === "" ? "" : `,error_type="${error}"`}}`,
  values,
];
const disk = (of: "free" | "size", values: string): Series => [`nightshift_disk_${of}_bytes{instance="serve-0"}`, values];
const stored = (values: string): Series => ['nightshift_ingest_stored_total{nightshift_signal="traces"}', values];
const lost = (values: string): Series => ['nightshift_gateway_capture_lost_total{nightshift_reason="no_room"}', values];
const otlp = (status: string, values: string): Series => [
  `nightshift_collector_request_duration_seconds_count{nightshift_signal="traces",${status}}`,
  values,
];
const lag = (values: string): Series => ['nightshift_transport_lag{nightshift_signal="traces",instance="ingest-0"}', values];
const dead = (values: string): Series => [
  'nightshift_transport_dead_letters_total{nightshift_signal="traces",error_type="tenant_unknown"}',
  values,
];
const ofUnknown = { nightshift_signal: "traces", error_type: "tenant_unknown" };
const judged = (outcome: string, values: string): Series => [
  `nightshift_judge_call_duration_seconds_count{gen_ai_request_model="judge",nightshift_outcome="${outcome}"}`,
  values,
];
const state = (name: string, values: string): Series => [`nightshift_promotion_state{${SHOP},nightshift_state="${name}"}`, values];
const stateAge = (values: string): Series => [`nightshift_promotion_state_age_seconds{${SHOP}}`, values];
const proof = (of: "evidence" | "threshold", values: string): Series => [
  `nightshift_canary_log_${of}{${SHOP},nightshift_evidence="promote"}`,
  values,
];
const fallbacks = (values: string): Series => [`nightshift_gateway_fallbacks_total{${SHOP},nightshift_reason="stable_timeout"}`, values];

const SERVING: readonly AlertCase[] = [
  {
    alert: "NightshiftCallsFail",
    of: "a tenth answered with 502",
    severity: "critical",
    series: [requests(200, "0+90x30"), requests(502, "0+10x30")],
    fires: { atMinute: 10, labels: shop, summary: "10% of the calls of shop fail" },
    silentAtMinute: 4,
    // One in fifty.
    well: [requests(200, "0+98x30"), requests(502, "0+2x30")],
  },
  {
    alert: "NightshiftFallbacksRising",
    of: "3 of 100 calls",
    series: [requests(200, "0+100x60"), fallbacks("0+3x60")],
    fires: { atMinute: 20, labels: shop, summary: "3% of the calls of shop are answered by another target than the assigned one" },
    silentAtMinute: 8,
    well: [requests(200, "0+200x60"), fallbacks("0+1x60"), stored("0+200x60")],
  },
  {
    alert: "NightshiftReplicaUnattested",
    of: "one adapter waits",
    severity: "critical",
    series: [adapters("attested", "1x30"), adapters("waiting", "1x30"), adapters("refused", "0x30")],
    fires: {
      atMinute: 16,
      labels: { ...shop, nightshift_replica: "vllm-1" },
      summary: "vllm-1 has not proven 1 adapter(s) of shop",
    },
    silentAtMinute: 14,
    // A restarted server is whole again after five minutes.
    well: [adapters("attested", "1x30"), adapters("waiting", "1x5 0x30"), adapters("refused", "0x30")],
  },
];

const CONTROL: readonly AlertCase[] = [
  {
    alert: "NightshiftNoLeader",
    of: "the leader resigned and nobody took over",
    severity: "critical",
    // Leads to minute 5.
    series: [leader("a", "1x5 0x30"), leader("b", "0x36")],
    fires: { atMinute: 9, summary: "No replica of the control service leads" },
    silentAtMinute: 6,
    // b takes over a minute after a.
    well: [leader("a", "1x5 0x30"), leader("b", "0x6 1x30")],
  },
  {
    alert: "NightshiftNoLeader",
    of: "nobody is scraped",
    severity: "critical",
    series: [],
    fires: { atMinute: 3, summary: "No replica of the control service leads" },
    silentAtMinute: 1,
    well: [leader("a", "1x30")],
  },
  {
    alert: "NightshiftLeaseExpired",
    of: "silence since minute 0",
    series: [[`nightshift_gateway_lease_age_seconds{${SHOP},instance="gateway-0"}`, "0+60x30"]],
    fires: { atMinute: 8, labels: shop, summary: "A gateway has not heard of shop from the control service for 8m 0s" },
    silentAtMinute: 6,
    well: [[`nightshift_gateway_lease_age_seconds{${SHOP},instance="gateway-0"}`, "0.4x30"]],
  },
  {
    alert: "NightshiftLoopFails",
    of: "assembly, from the start",
    series: [turns("store_unavailable", "0+2x60"), turns("", "100x60")],
    fires: { atMinute: 12, labels: { nightshift_loop: "assembly" }, summary: "The loop assembly has only failed for a quarter of an hour" },
    silentAtMinute: 9,
    // Now and then a turn fails.
    well: [turns("store_unavailable", "0+1x60"), turns("", "100+20x60")],
  },
  {
    alert: "NightshiftDiskFilling",
    of: "5 of 100 GB",
    series: [disk("free", "5000000000x30"), disk("size", "100000000000x30")],
    fires: { atMinute: 16, labels: { instance: "serve-0" }, summary: "5% of the disk of serve-0 is free" },
    silentAtMinute: 14,
    well: [disk("free", "50000000000x30"), disk("size", "100000000000x30")],
  },
];

const CAPTURE: readonly AlertCase[] = [
  {
    alert: "NightshiftCaptureStopped",
    of: "calls, and a store that stands still",
    series: [requests(200, "0+100x90"), stored("5000x90")],
    fires: { atMinute: 60, summary: "Agents call, and nothing of it is stored" },
    silentAtMinute: 14,
    well: [requests(200, "0+100x90"), stored("5000+50x90")],
  },
  {
    alert: "NightshiftCaptureLost",
    of: "the first loss of a process",
    series: [lost("_x20 3x40")],
    fires: { atMinute: 22, labels: { nightshift_reason: "no_room" }, summary: "The gateway lost spans of live calls: no_room" },
    silentAtMinute: 50,
    well: [lost("0x60")],
  },
  {
    alert: "NightshiftCaptureLost",
    of: "one more",
    series: [lost("3x40 4x40")],
    fires: { atMinute: 44, labels: { nightshift_reason: "no_room" }, summary: "The gateway lost spans of live calls: no_room" },
    silentAtMinute: 70,
    // Old losses are no news.
    well: [lost("3x80")],
  },
  {
    alert: "NightshiftCollectorRefuses",
    of: "a tenth over each protocol",
    series: [
      otlp('nightshift_protocol="http",http_response_status_code="200"', "0+80x40"),
      otlp('nightshift_protocol="http",http_response_status_code="503"', "0+10x40"),
      otlp('nightshift_protocol="grpc",rpc_response_status_code="14"', "0+10x40"),
    ],
    fires: { atMinute: 20, summary: "The collector turns 20% of the requests away" },
    silentAtMinute: 8,
    well: [
      otlp('nightshift_protocol="http",http_response_status_code="200"', "0+99x40"),
      otlp('nightshift_protocol="http",http_response_status_code="503"', "0+1x40"),
    ],
  },
  {
    alert: "NightshiftIngestBehind",
    of: "5,000 and growing",
    series: [lag("5000+10x60")],
    // 5,000 + 32 · 10.
    fires: { atMinute: 32, labels: { nightshift_signal: "traces" }, summary: "Ingest is 5.32k records of traces behind" },
    silentAtMinute: 28,
    // A deploy: caught up within 20 minutes.
    well: [lag("5000-250x20 0x40")],
  },
  {
    alert: "NightshiftDeadLetters",
    of: "the first of a process",
    series: [dead("_x90 1x100")],
    fires: { atMinute: 92, labels: ofUnknown, summary: "Records were put aside: tenant_unknown" },
    silentAtMinute: 170,
    well: [dead("0x100")],
  },
  {
    alert: "NightshiftDeadLetters",
    of: "one more",
    series: [dead("1x90 2x100")],
    fires: { atMinute: 95, labels: ofUnknown, summary: "Records were put aside: tenant_unknown" },
    silentAtMinute: 170,
    well: [dead("1x190")],
  },
];

const NIGHT: readonly AlertCase[] = [
  {
    alert: "NightshiftNoGoodNight",
    of: "three days and 800 seconds",
    series: [[`nightshift_run_last_good_age_seconds{${SHOP}}`, "260000x5"]],
    fires: { atMinute: 1, labels: shop, summary: "shop has had no good night for 3d 0h 13m 20s" },
    well: [[`nightshift_run_last_good_age_seconds{${SHOP}}`, "100000x5"]],
  },
  {
    alert: "NightshiftNightStuck",
    of: "25 hours",
    series: [[`nightshift_run_open_age_seconds{${SHOP}}`, "90000x5"]],
    fires: { atMinute: 1, labels: shop, summary: "A night of shop has been open for 1d 1h 0m 0s" },
    well: [[`nightshift_run_open_age_seconds{${SHOP}}`, "30000x5"]],
  },
  {
    alert: "NightshiftTrainerSilent",
    of: "silent from the start",
    // 120 seconds at minute 4 are the first above 90.
    series: [[`nightshift_trainer_heartbeat_age_seconds{${SHOP}}`, "0+30x10"]],
    fires: { atMinute: 5, labels: shop, summary: "The trainer of shop has been silent for 2m 30s" },
    silentAtMinute: 4,
    well: [[`nightshift_trainer_heartbeat_age_seconds{${SHOP}}`, "45x10"]],
  },
  {
    alert: "NightshiftTrainerWaits",
    of: "without a place from the start",
    // 1,860 seconds at minute 31 are the first above 1,800; five minutes later it fires.
    series: [[`nightshift_trainer_waiting_seconds{${SHOP}}`, "0+60x40"]],
    fires: { atMinute: 36, labels: shop, summary: "The trainer of shop has waited 36m 0s for a place" },
    silentAtMinute: 35,
    // A pool that grew within twenty minutes.
    well: [[`nightshift_trainer_waiting_seconds{${SHOP}}`, "0+60x20 0x20"]],
  },
  {
    alert: "NightshiftJudgeFails",
    of: "4 of 10 questions",
    series: [judged("answered", "0+6x60"), judged("rejected", "0+3x60"), judged("retryable", "0+1x60")],
    fires: { atMinute: 20, labels: { gen_ai_request_model: "judge" }, summary: "40% of the questions to the judge judge have no answer" },
    silentAtMinute: 14,
    well: [judged("answered", "0+9x60"), judged("rejected", "0+1x60")],
  },
];

const PROMOTION: readonly AlertCase[] = [
  {
    alert: "NightshiftCandidateRolledBack",
    of: "at minute 11, and no longer twelve hours later",
    series: [state("rolled_back", "0x10 1x800"), state("canary", "1x10 0x800"), stateAge("50000+60x10 0+60x800")],
    fires: { atMinute: 12, labels: shop, summary: "A candidate of shop was rolled back" },
    // 11 + 720.
    silentAtMinute: 732,
    well: [state("rolled_back", "0x20"), state("canary", "1x20"), stateAge("600+60x20")],
  },
  {
    alert: "NightshiftPromotionHeld",
    of: "paused five hours ago",
    series: [state("held", "1x5"), stateAge("18000+60x5")],
    fires: { atMinute: 1, labels: shop, summary: "The canary of shop has been paused for hours" },
    well: [state("held", "1x5"), stateAge("600+60x5")],
  },
  {
    alert: "NightshiftCandidateWaits",
    of: "an alarm is open",
    series: [[`nightshift_alarm_open{${SHOP}}`, "1x90"]],
    fires: { atMinute: 61, labels: shop, summary: "A candidate of shop waits for an operator" },
    silentAtMinute: 58,
    well: [[`nightshift_alarm_open{${SHOP}}`, "0x90"]],
  },
  {
    alert: "NightshiftCandidateWaits",
    of: "proven for longer than a day",
    // ln 20 is 2.9957.
    series: [proof("evidence", "3.2x90"), proof("threshold", "2.9957x90"), stateAge("100000+60x90"), state("canary", "1x90")],
    fires: { atMinute: 61, labels: shop, summary: "A candidate of shop waits for an operator" },
    silentAtMinute: 58,
    // Proven within the day that a canary takes at least.
    well: [proof("evidence", "3.2x90"), proof("threshold", "2.9957x90"), stateAge("40000+60x90"), state("canary", "1x90")],
  },
  {
    alert: "NightshiftCandidateWaits",
    of: "proven, and no canary is not proven",
    series: [proof("evidence", "3.2x90"), proof("threshold", "2.9957x90"), stateAge("100000+60x90")],
    fires: { atMinute: 61, labels: shop, summary: "A candidate of shop waits for an operator" },
    well: [proof("evidence", "0x90"), proof("threshold", "0x90"), stateAge("100000+60x90")],
  },
];

export const ALERT_CASES: readonly AlertCase[] = [...SERVING, ...CONTROL, ...CAPTURE, ...NIGHT, ...PROMOTION];
