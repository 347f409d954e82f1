import { describe, expect, test } from "vitest";
import { parseConfig } from "../../src/config.ts";
import { assemble, type Draft } from "../../src/trajectory/assemble.ts";
import { matchAgent } from "../../src/trajectory/match-agent.ts";
import { mendOf } from "../../src/trajectory/mend.ts";
import { withKnownTools } from "../../src/trajectory/tool-registry.ts";
import { reasonSchema } from "../../src/trajectory/trajectory.ts";
import { verdictOf } from "../../src/trajectory/verdict.ts";
import { SIMPLE, TOOLS } from "./calls.ts";

const { agents } = parseConfig({ agents: { shop: { model: "m", baseModel: "b" } } });
const GOOD = assemble({ id: "c", key: "k", tenant: "default", agent: "shop" }, SIMPLE.calls, agents)[0] as Draft;
const with_ = (trajectory: Partial<Draft["trajectory"]>, evidence: Partial<Draft["evidence"]> = {}): Draft => ({
  trajectory: { ...GOOD.trajectory, ...trajectory },
  evidence: { ...GOOD.evidence, ...evidence },
});
const ALLOW = { trainingConsent: "allow" } as const;
const DENY = { trainingConsent: "deny" } as const;
const [lookupTool, refundTool] = TOOLS as [(typeof TOOLS)[0], (typeof TOOLS)[0]];

test.each<[string, Draft, typeof ALLOW | typeof DENY, string[]]>([
  ["a good one", GOOD, ALLOW, []],
  ["the tenant denies and nobody said yes", GOOD, DENY, ["no_consent"]],
  ["the tenant denies, the conversation said yes", with_({}, { consent: true }), DENY, []],
  ["the conversation said no", with_({}, { consent: false }), ALLOW, ["no_consent"]],
  ["no known agent", with_({ agent: "unknown" }), ALLOW, ["unknown_agent"]],
  ["no answer", with_({ messages: SIMPLE.transcript.slice(0, 2) }), ALLOW, ["output_missing"]],
  ["nothing at all", with_({ messages: [] }), ALLOW, ["system_missing", "output_missing"]],
  ["no system message", with_({ messages: SIMPLE.transcript.slice(1) }), ALLOW, ["system_missing"]],
  ["no system message, as the gateway saw it", with_({ messages: SIMPLE.transcript.slice(1) }, { fromGateway: true }), ALLOW, []],
  ["no tool definitions", with_({ tools: null }), ALLOW, ["tool_definitions_missing"]],
  ["names only", with_({ tools: [lookupTool, { name: "refund" }] }), ALLOW, ["tool_definitions_missing"]],
  ["a tool that was never defined", with_({ tools: [refundTool] }), ALLOW, ["tool_definitions_missing"]],
  ["no tools and no calls", with_({ tools: null, messages: [SIMPLE.system, SIMPLE.question, SIMPLE.done] }), ALLOW, []],
  [
    "a result that nobody called for",
    with_({ messages: [SIMPLE.system, SIMPLE.question, SIMPLE.found, SIMPLE.done] }),
    ALLOW,
    ["tool_calls_missing"],
  ],
  [
    "a second result in a turn of one call",
    with_({ messages: [...SIMPLE.transcript.slice(0, 4), ...SIMPLE.transcript.slice(3)] }),
    ALLOW,
    ["tool_calls_missing"],
  ],
  [
    "one turn's calls in several messages",
    with_({ messages: [SIMPLE.system, SIMPLE.question, SIMPLE.lookup, SIMPLE.lookup, SIMPLE.found, SIMPLE.found, SIMPLE.done] }),
    ALLOW,
    [],
  ],
  ["a call without a result", with_({}, { unanswered: ["lookup"] }), ALLOW, ["tool_result_missing"]],
  [
    "several, in a fixed order",
    with_({}, { damage: ["pii_unredacted", "truncated_json"], pairingGuessed: true, abandoned: true, compactedUnlinked: true }),
    ALLOW,
    ["truncated_json", "pairing_guessed", "compacted_unlinked", "pii_unredacted", "superseded"],
  ],
])("%s", (_, draft, tenant, reasons) => {
  expect(verdictOf(draft, tenant)).toEqual({ trainable: reasons.length === 0, reasons });
});

describe("tool registry", () => {
  const registry = new Map(TOOLS.map((tool) => [tool.name, tool]));
  test.each<[string, Draft, typeof GOOD.trajectory.tools]>([
    [
      "names get their schemas, own descriptions stay",
      with_({ tools: [{ name: "lookup", description: "Mine" }] }),
      [{ ...lookupTool, description: "Mine" }],
    ],
    ["no list becomes the registry", with_({ tools: null }), TOOLS],
    ["no list, but the gateway saw the request", with_({ tools: null }, { fromGateway: true }), null],
    ["a name nobody knows stays bare", with_({ tools: [{ name: "new" }] }), [{ name: "new" }]],
  ])("%s", (_, draft, tools) => {
    expect(withKnownTools(draft, registry).trajectory.tools).toEqual(tools);
  });
  test("an incomplete registry explains nothing", () => {
    expect(withKnownTools(with_({ tools: null }), new Map()).trajectory.tools).toBeNull();
  });
});

describe("mends", () => {
  test("every reason has one for any dialect; the dialect's own comes first", () => {
    for (const reason of reasonSchema.options) expect(mendOf(reason, ["constructor", "else"]).length).toBeGreaterThan(20);
    expect(mendOf("output_missing", ["genai+openai-log-events"])).toContain("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true");
    expect(mendOf("dropped_attributes", ["openinference"])).toContain("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=4096");
  });
});

describe("matching agents", () => {
  const agent = (match: object, tenant = "default") => ({ model: "m", baseModel: "b", match, tenant });
  const { agents: rules } = parseConfig({
    tenants: { default: {}, other: {} },
    agents: {
      all: agent({}),
      service: agent({ serviceName: "shop" }),
      named: agent({ agentName: "clerk" }),
      both: agent({ serviceName: "shop", agentName: "clerk" }),
      foreign: agent({ serviceName: "shop", agentName: "clerk" }, "other"),
    },
  });
  test.each([
    ["shop", "clerk", "both"],
    ["shop", null, "service"],
    ["shop", "stranger", "service"],
    [null, "clerk", "named"],
    [null, null, "all"],
  ])("service %s, agent %s: %s", (serviceName, agentName, expected) => {
    expect(matchAgent(rules, "default", { serviceName, agentName })).toBe(expected);
  });
  test("no rule fits", () => {
    expect(matchAgent(rules, "nobody", { serviceName: "shop", agentName: "clerk" })).toBe("unknown");
  });
});
