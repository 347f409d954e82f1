import { parseConfig } from "../../../src/config.ts";
import { mulberry } from "../../bench/canary/simulate.ts";
import { say, SIMPLE } from "../../trajectory/calls.ts";
import { chat, rootSpan, toolSpan, type SentSpan } from "../../trajectory/ingest.ts";

export const config = parseConfig({
  capture: { graceMs: 1, idleMs: 1, maxAgeMs: 1 },
  agents: { shop: { model: "shop-model", baseModel: "b", match: { serviceName: "shop" } } },
});

/** Every conversation is over at this time, whatever is still missing of it: what arrives later opens it again. */
export const LONG_AFTER_MS = 1_000_000;

const { system, lookup, found, done } = SIMPLE;

/**
 * The spans of one customer's chat: two turns, each a trace of its own. Model calls name nothing, tools the session, only the roots the chat: traces change their
 * conversation up to twice while other workers file spans under it.
 */
function chatSpans(index: number): SentSpan[] {
  return [1, 2].flatMap((turn) => {
    const trace = `${index}-${turn}`;
    const from = turn * 10_000;
    const question = say("user", `question ${turn} of customer ${index}`);
    const named = { "gen_ai.conversation.id": `chat-${index}` };
    const session = { "session.id": `session-${index}` };
    const tool = toolSpan(`t${trace}`, [from + 100, from + 200], "lookup", "c1");
    return [
      chat(`a${trace}`, [from, from + 100], [system, question], [lookup], { trace }),
      { ...tool, trace, attributes: { ...tool.attributes, ...session } },
      chat(`b${trace}`, [from + 200, from + 300], [system, question, lookup, found], [done], { trace }),
      rootSpan([from, from + 400], { trace, id: "root", attributes: { "user.id": `user-${index}`, ...session, ...named } }),
    ];
  });
}

/** What several collectors deliver: every span at least once, about half of them twice or more, in requests that mix chats and overlap. The same for one seed. */
export function deliveries(options: { chats: number; requests: number; seed: number }): SentSpan[][] {
  const random = mulberry(options.seed);
  const requests: SentSpan[][] = Array.from({ length: options.requests }, () => []);
  for (const span of Array.from({ length: options.chats }, (_, index) => chatSpans(index)).flat()) {
    for (const _ of Array.from({ length: 1 + Math.floor(random() * 3) })) requests[Math.floor(random() * requests.length)]?.push(span);
  }
  return requests.filter((request) => request.length > 0);
}
