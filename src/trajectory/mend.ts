import type { Reason } from "./trajectory.ts";

const CAPTURE_CONTENT =
  "Set OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true in the agent's environment (span_and_event for Google ADK and Python's genai-* packages, where true captures too little or nothing) and send /v1/logs to the collector too.";
const ADK_CONTENT =
  "Set OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=span_and_event in the agent's environment; with schema 1, ADK_CAPTURE_MESSAGE_CONTENT_IN_SPANS=true (or leave it unset).";
/** Of the kits that write messages as span events. */
const EVENT_CONTENT =
  "Turn content on: AZURE_TRACING_GEN_AI_CONTENT_RECORDING_ENABLED=true for Azure AI, SEMANTICKERNEL_EXPERIMENTAL_GENAI_ENABLE_OTEL_DIAGNOSTICS_SENSITIVE=true for Semantic Kernel; Strands has it on.";
const ONE_RUN_A_BATCH =
  "Give wrapOpenAI and traceable a Client with batchSizeLimit: 1: where the start and the end of a streamed run leave in one batch, LangSmith writes it over the run around it.";
const GATEWAY = "Route the agent's model calls through the Nightshift gateway, which records requests whole.";

/** What an operator does about a reason; `else` where no dialect has a mend of its own. Dialects as `Call.dialect` names them. */
const MENDS: Readonly<Record<Reason, { else: string } & Readonly<Record<string, string>>>> = {
  truncated_json: {
    else: "Raise OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT (or leave it unset): a message attribute was cut in the middle.",
    openinference:
      "Unset OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT and OPENINFERENCE_BASE64_IMAGE_MAX_LENGTH, or trace fewer attributes: JSON was cut.",
  },
  dropped_attributes: {
    else: "Raise OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT: the SDK dropped attributes of a long conversation.",
    traceloop: "Set OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=4096, or upgrade OpenLLMetry: its old form writes several attributes per message.",
    openinference:
      "Set OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=4096: OpenInference writes several attributes per message, and the default of 128 drops the rest.",
  },
  dropped_events: {
    mlflow: "Set OTEL_SPAN_EVENT_COUNT_LIMIT=16384: MLflow writes an event for every chunk of a stream, and tool calls are nowhere else.",
    else: "Raise OTEL_SPAN_EVENT_COUNT_LIMIT: messages travel as span events here, and the default of 128 drops the rest.",
  },
  tool_definitions_missing: {
    else: `The SDK records no tool schemas. ${GATEWAY}`,
    genai: `Turn on the opt-in attribute gen_ai.tool.definitions with parameters, if the SDK has it. Otherwise: ${GATEWAY}`,
    "google-adk": `${ADK_CONTENT} Its log events leave the parameters out. Otherwise: ${GATEWAY}`,
    "ai-sdk": `Leave experimental_telemetry.recordInputs on: ai.prompt.tools is written with the prompt. Otherwise: ${GATEWAY}`,
    openinference: `The instrumentation records no llm.tools (that of the OpenAI Agents SDK never does over chat completions). ${GATEWAY}`,
    "openai-log-events": `The official OpenAI instrumentation records no tool schemas at all. ${GATEWAY}`,
    "span-events": `Strands writes names only; in Python it adds the schemas with OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_tool_definitions. Otherwise: ${GATEWAY}`,
    "span-event-details": `In Python, add gen_ai_tool_definitions to OTEL_SEMCONV_STABILITY_OPT_IN; in JavaScript (1.19) Strands writes names only, that opt-in changes nothing. ${GATEWAY}`,
  },
  tool_calls_missing: {
    else: `The history holds answers of tools without the calls. ${GATEWAY}`,
    traceloop: `Upgrade OpenLLMetry to a version with gen_ai.input.messages (in JavaScript from 0.25 on): the old form leaves tool calls out of the history. ${GATEWAY}`,
  },
  tool_result_missing: {
    else: "Export the tool spans of the agent (gen_ai.tool.call.id and gen_ai.tool.call.result), or let it send results back with their call ids.",
    genai: "Turn on the opt-in attributes gen_ai.tool.call.arguments and gen_ai.tool.call.result on execute_tool spans.",
    langsmith: ONE_RUN_A_BATCH,
  },
  tool_result_reworded: {
    else: `What a tool answered is recorded in other words than the model read. Pydantic AI does that with ModelRetry and refused arguments: let tools return their errors. Otherwise: ${GATEWAY}`,
  },
  system_missing: {
    else: `No system message was recorded. If the agent has one, its SDK drops it. ${GATEWAY}`,
    genai: `Record gen_ai.system_instructions (message content capture; in AI SDK 7 leave telemetry.recordInputs on). ${GATEWAY}`,
    "ai-sdk": "Leave experimental_telemetry.recordInputs on. If it is, the agent has no system prompt.",
    "span-events": EVENT_CONTENT,
    langsmith:
      "Unset LANGSMITH_HIDE_INPUTS, and give every call a copy of the messages: LangSmith records the list as it is when the run is sent, with what was said later.",
    traceloop: "Set TRACELOOP_TRACE_CONTENT=true (or leave it unset) and traceContent: true on the instrumentation.",
  },
  output_missing: {
    else: `The last answer was not recorded. ${CAPTURE_CONTENT}`,
    genai: `${CAPTURE_CONTENT} In AI SDK 7 leave telemetry.recordOutputs on, in OpenLLMetry TRACELOOP_TRACE_CONTENT.`,
    "openai-log-events": CAPTURE_CONTENT,
    "google-adk": ADK_CONTENT,
    mlflow: "Nothing to be set: MLflow sends what it traced. The call failed, or it is not one of OpenAI's chat completions.",
    "span-events": EVENT_CONTENT,
    langsmith: `Unset LANGSMITH_HIDE_OUTPUTS. ${ONE_RUN_A_BATCH}`,
    langfuse: `observeOpenAI runs the parallel calls of a streamed answer into one: only the next request tells them, and none came. Ask for such answers without stream. Otherwise: ${GATEWAY}`,
    "ai-sdk":
      "Leave experimental_telemetry.recordOutputs on, and let the stream be read to its end: a stream that was aborted has no answer.",
    traceloop: "Set TRACELOOP_TRACE_CONTENT=true (or leave it unset) and traceContent: true on the instrumentation.",
    openinference:
      "Unset OPENINFERENCE_HIDE_OUTPUTS and OPENINFERENCE_HIDE_OUTPUT_MESSAGES; if the call failed or was cancelled, nothing is to be mended.",
  },
  pairing_guessed: {
    else: `Parallel tool calls carry no ids, so their results were told apart by order only. ${GATEWAY}`,
    traceloop: `Upgrade OpenLLMetry to a version with gen_ai.input.messages, which has the ids of tool calls. Otherwise: ${GATEWAY}`,
  },
  compacted_unlinked: {
    else: "The history was compacted or cut before the first recorded call. Send the same gen_ai.conversation.id on every call of a conversation.",
  },
  dangling_ref: {
    else: "Content lies outside the telemetry and could not be read, or a medium is larger than capture.maxMediaBytes, or one conversation refers to more than 32 MiB. List where the SDK uploads to in tenants.<slug>.referencePrefixes, and see that the upload succeeds (its queue drops what is too much).",
  },
  no_consent: { else: "Set nightshift.consent=true on the agent's spans, or tenants.<slug>.trainingConsent: allow, if you may." },
  pii_unredacted: {
    else: "Some content could not be parsed for redaction and was dropped. Send messages as JSON or structured attributes.",
  },
  superseded: { else: "Nothing to mend: another answer, or a newer version of the conversation, took its place." },
  served_by_rolled_back: { else: "Nothing to mend: an adapter that was rolled back for harm wrote it." },
  candidate_undecided: { else: "Nothing to mend: it waits for the canary's decision." },
  unknown_agent: { else: "Add an agent to the config whose match rule fits service.name or gen_ai.agent.name of these spans." },
};

/** The mend of a reason for telemetry of these dialects: the first dialect with a mend of its own decides. */
export function mendOf(reason: Reason, dialects: readonly string[]): string {
  const names = dialects.flatMap((dialect) => dialect.split("+"));
  const mends = MENDS[reason];
  const own = names.find((name) => name !== "else" && Object.hasOwn(mends, name));
  return (own === undefined ? undefined : mends[own]) ?? mends.else;
}
