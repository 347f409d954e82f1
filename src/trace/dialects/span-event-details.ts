import { canonicalMessages } from "../canonical.ts";
import { answerOf } from "../content-blocks.ts";
import { jsonOf, payloadOf } from "../json.ts";
import { isToolCallResponse, type Message } from "../message.ts";
import type { Attributes, Span } from "../span.ts";
import type { Dialect, Reading } from "./dialect.ts";
import { genai } from "./genai.ts";

const DETAILS = "gen_ai.client.inference.operation.details";

/**
 * Strands with `gen_ai_latest_experimental`: the attributes of the GenAI conventions on span events, one piece on each (system instructions, input, output), with content
 * blocks for what tools answered. A failed tool's answer is only in its output message.
 */
export const spanEventDetails: Dialect = {
  name: "span-event-details",
  read(span, logs) {
    const pieces = span.events.filter((event) => event.name === DETAILS);
    if (pieces.length === 0) return null;
    const attributes: Attributes = Object.assign({}, ...pieces.map((event) => event.attributes), span.attributes);
    const whole: Span = { ...span, attributes };
    const reading = genai.read(whole, logs);
    if (reading === null) return null;
    const opened: Reading = { ...reading };
    if (reading.input !== undefined) opened.input = reading.input.map((message) => withOpenBlocks(message));
    if (reading.kind === "tool") {
      const result = reading.result === undefined ? answerIn(attributes["gen_ai.output.messages"]) : reading.result;
      if (result !== undefined) opened.result = payloadOf(answerOf(result));
    }
    return opened;
  },
};

function withOpenBlocks(message: Message): Message {
  const parts = message.parts.map((part) =>
    isToolCallResponse(part) ? { ...part, response: payloadOf(answerOf(part.response)) ?? null } : part,
  );
  return { ...message, parts };
}

function answerIn(output: Attributes[string] | undefined): unknown {
  const { value } = jsonOf(output);
  const parts = value === undefined ? [] : canonicalMessages(value).flatMap((message) => message.parts);
  return parts.find(isToolCallResponse)?.response;
}
