import { isToolCall, isToolCallResponse, type Message } from "../trace/message.ts";
import type { Draft } from "./assemble.ts";
import { authorOf } from "./assembly/items.ts";
import { UNKNOWN_AGENT } from "./match-agent.ts";
import { type Reason, reasonSchema, type Verdict } from "./trajectory.ts";

/**
 * Whether a trajectory can teach, or all reasons why not, in the order of the enum. `served_by_rolled_back` and `candidate_undecided` change after the fact and
 * are added where scenarios are selected.
 * @param tenant what holds where a conversation says nothing about consent
 */
export function verdictOf(draft: Draft, tenant: { trainingConsent: "allow" | "deny" }): Verdict {
  const { trajectory, evidence } = draft;
  const found = new Set<Reason>(evidence.damage);
  const flag = (reason: Reason, holds: boolean) => {
    if (holds) found.add(reason);
  };
  flag("unknown_agent", trajectory.agent === UNKNOWN_AGENT);
  flag("no_consent", evidence.consent === false || (evidence.consent === null && tenant.trainingConsent === "deny"));
  flag("output_missing", authorOf(trajectory.messages.at(-1)?.role ?? "") !== "assistant");
  flag("system_missing", !evidence.fromGateway && authorOf(trajectory.messages[0]?.role ?? "") !== "system");
  flag("tool_definitions_missing", definitionsMissing(trajectory));
  flag("tool_calls_missing", callsMissing(trajectory.messages));
  flag("tool_result_missing", evidence.unanswered.length > 0);
  flag("pairing_guessed", evidence.pairingGuessed);
  flag("compacted_unlinked", evidence.compactedUnlinked);
  flag("superseded", evidence.abandoned);
  const reasons = reasonSchema.options.filter((reason) => found.has(reason));
  return { trainable: reasons.length === 0, reasons };
}

/** A tool was called, or offered, whose argument schema is not known: the prompt cannot be rendered again as the model saw it. */
function definitionsMissing({ messages, tools }: Draft["trajectory"]): boolean {
  const schemas = new Set((tools ?? []).filter((tool) => tool.parameters !== undefined).map((tool) => tool.name));
  const called = messages.flatMap((message) => message.parts.filter(isToolCall).map((part) => part.name));
  return called.some((name) => !schemas.has(name)) || (tools ?? []).some((tool) => !schemas.has(tool.name));
}

/** More results came than the turn before them called for: its calls were not recorded. */
function callsMissing(messages: readonly Message[]): boolean {
  let called = 0;
  let answered = 0;
  for (const { role, parts } of messages) {
    // The calls of one turn may stand in several messages.
    if (authorOf(role) === "assistant" && answered > 0) called = answered = 0;
    called += parts.filter(isToolCall).length;
    answered += parts.filter(isToolCallResponse).length;
    if (answered > called) return true;
  }
  return false;
}
