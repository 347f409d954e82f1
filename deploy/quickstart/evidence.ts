import { isToolCall, isToolCallResponse, textOf, type Message } from "../../src/trace/message.ts";
import { readReply, type Told } from "./reply.ts";

/** What a judge is shown of one attempt: its transcript, and whether it came to an end of its own. A `Rollout` is one. */
export interface JudgedMember {
  messages: readonly Message[];
  end: { status: "completed" | "truncated" | "masked" };
}

/** What the customer asked for, by their own words. */
export interface Ask {
  orderId: string | null;
  kind: "status" | "refund";
}

/** What tool results say about the world before anybody changed it. Null: no result says so. */
export interface Facts {
  item: string | null;
  status: string | null;
  ageDays: number | null;
  alreadyRefunded: boolean;
  refundDays: ReadonlyMap<string, number>;
}

/** What one member did and said. */
export interface Deeds {
  told: Told;
  /** Orders that a tool result says were paid back by this member. */
  paidBack: ReadonlySet<string>;
  lookedUp: boolean;
  checkedPolicy: boolean;
  toolCalls: number;
  toolErrors: number;
}

/** A call and its result, as fields. */
export interface ToolUse {
  name: string;
  args: Record<string, unknown>;
  result: Record<string, unknown>;
}

export function readAsk(members: readonly JudgedMember[]): Ask {
  const message = members[0]?.messages.find(({ role }) => role === "user");
  const text = message ? textOf(message) : "";
  return { orderId: /\bA\d{4}\b/.exec(text)?.[0] ?? null, kind: /refund|money back/i.test(text) ? "refund" : "status" };
}

/** Pools what all members saw: a fact that one of them looked up holds for all. */
export function poolFacts(ask: Ask, members: readonly JudgedMember[]): Facts {
  const uses = members.map(({ messages }) => asToolUses(messages));
  const days = new Map<string, number>();
  for (const { name, result } of uses.flat()) {
    if (name === "refund_policy" && typeof result["refund_days"] === "number") days.set(String(result["item"]), result["refund_days"]);
  }
  const looks = uses.flatMap(firstLook(ask.orderId));
  const look = looks[0];
  return {
    item: look ? String(look["item"]) : null,
    status: look ? String(look["status"]) : null,
    ageDays: typeof look?.["age_days"] === "number" ? look["age_days"] : null,
    alreadyRefunded: looks.some((result) => result["refunded"] === true),
    refundDays: days,
  };
}

export function readDeeds(ask: Ask, facts: Facts, { messages, end }: JudgedMember): Deeds {
  const uses = asToolUses(messages);
  const last = messages.at(-1);
  const reply = end.status === "completed" && last?.role === "assistant" ? textOf(last) : "";
  return {
    told: readReply(reply),
    paidBack: new Set(uses.filter(isPayment).map(({ result }) => String(result["order_id"]))),
    lookedUp: firstLook(ask.orderId)(uses).length > 0,
    checkedPolicy: uses.some(({ name, result }) => name === "refund_policy" && result["item"] === facts.item && facts.item !== null),
    toolCalls: uses.length,
    toolErrors: uses.filter(({ result }) => "error" in result).length,
  };
}

function isPayment({ name, result }: ToolUse): boolean {
  return name === "issue_refund" && result["refunded"] === true;
}

/** The first look at the order, if it came before the member paid it back: later ones show the member's own deeds. */
function firstLook(orderId: string | null): (uses: readonly ToolUse[]) => Record<string, unknown>[] {
  return (uses) => {
    const look = uses.findIndex(({ name, result }) => name === "lookup_order" && result["order_id"] === orderId && "status" in result);
    const paid = uses.findIndex((use) => isPayment(use) && use.result["order_id"] === orderId);
    if (look < 0) return [];
    const { result } = uses[look]!;
    return [paid >= 0 && paid < look ? { ...result, refunded: false } : result];
  };
}

/** Calls paired with their results by id, in order where an id is missing. Calls without a result are left out. */
export function asToolUses(messages: readonly Message[]): ToolUse[] {
  const parts = messages.flatMap((message) => message.parts);
  const answers = parts.filter(isToolCallResponse);
  return parts.filter(isToolCall).flatMap((call, index) => {
    const answer = (call.id !== undefined && answers.find(({ id }) => id === call.id)) || answers[index];
    return answer ? [{ name: call.name, args: asObject(call.arguments), result: asObject(answer.response) }] : [];
  });
}

function asObject(value: unknown): Record<string, unknown> {
  if (typeof value === "string") {
    try {
      return asObject(JSON.parse(value));
    } catch {
      return {};
    }
  }
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}
