import { fc } from "@fast-check/vitest";
import type { Call } from "../../src/trace/call.ts";
import type { Message } from "../../src/trace/message.ts";
import { answer, ask, inference, root, say, tool } from "./calls.ts";

type Step = "text" | "tool" | "parallel" | "retry" | "compact" | "subagent" | "user";

/** A conversation as an agent could have led it: turns, tool calls, retries, compaction, sub-agents. */
export function conversationCalls(): fc.Arbitrary<Call[]> {
  const step = fc.constantFrom<Step>("text", "tool", "parallel", "retry", "compact", "subagent", "user");
  return fc
    .record({ steps: fc.array(step, { minLength: 1, maxLength: 10 }), withIds: fc.boolean() })
    .map(({ steps, withIds }) => lead(steps, withIds));
}

function lead(steps: readonly Step[], withIds: boolean): Call[] {
  const calls: Call[] = [root([0, 100_000])];
  let history: Message[] = [say("system", "S"), say("user", "Q")];
  let at = 0;
  const next = (): [number, number] => [(at += 10), (at += 10)];
  const infer = (output: Message) => {
    calls.push(inference(`i${calls.length}`, next(), [...history], [output]));
    history.push(output);
  };
  for (const [index, kind] of steps.entries()) {
    const id = (n: number) => (withIds ? `c${index}.${n}` : undefined);
    if (kind === "text") infer(say("assistant", `answer ${index}`));
    else if (kind === "retry") calls.push(inference(`i${calls.length}`, next(), [...history], [say("assistant", `discarded ${index}`)]));
    else if (kind === "compact") history = [say("system", "S"), say("user", `summary ${index}`), ...history.slice(-1)];
    else if (kind !== "user") {
      const asked = ask(
        ...(kind === "parallel" ? [0, 1] : [0]).map((n) => [id(n), "lookup", { n, index }] as [string | undefined, string, unknown]),
      );
      infer(asked);
      for (const [n] of asked.parts.entries()) {
        const spanId = `x${calls.length}`;
        calls.push(tool(spanId, next(), "lookup", id(n) ?? null, { arguments: { n, index }, result: n }));
        if (kind === "subagent")
          calls.push(
            inference(`s${calls.length}`, next(), [say("user", `sub ${index}`)], [say("assistant", "ok")], { parentSpanId: spanId }),
          );
        history.push(answer(id(n), { n }));
      }
    }
    if (kind === "user" || kind === "text") history.push(say("user", `more ${index}`));
  }
  infer(say("assistant", "end"));
  return calls;
}
