import type { WireQuestion } from "./partner.ts";

/** A question's text by what it is there for; `form` is everything that marks, names, quotes and separates. */
export interface QuestionParts {
  instructions: string;
  /** What all attempts share, the tools' definitions included. */
  shared: string;
  calls: string;
  results: string;
  said: string;
}

/** Of our questions: every line that begins with the marker is ours, its head says what follows. */
export function partsOfOurs({ system, user }: WireQuestion): QuestionParts {
  const marker = user.slice(0, user.indexOf(" "));
  const end = user.indexOf(`${marker} <trajectory`);
  const pieces = user
    .slice(end)
    .split(`${marker} `)
    .map((piece) => {
      const [, head = "", body = ""] = /^([^:\n]*)(?:: ([\s\S]*))?$/.exec(piece.trimEnd()) ?? [];
      return { head, body };
    });
  const bodies = (kind: RegExp): string =>
    pieces
      .filter(({ head }) => kind.test(head))
      .map(({ body }) => body)
      .join("\n");
  return {
    instructions: system,
    shared: user.slice(0, end),
    calls: bodies(/^call #/),
    results: bodies(/^result #/),
    said: bodies(/^(system|user|assistant|other)/),
  };
}

interface WireMessage {
  role: string;
  content?: string | null;
  tool_calls?: { function: { name: string; arguments: string } }[];
}

/** Of ART's: each trajectory is the JSON of its messages. */
export function partsOfArts({ system, user }: WireQuestion): QuestionParts {
  const first = user.indexOf("<trajectory id=");
  const messages = [...user.matchAll(/<trajectory id="\d+">\n([\s\S]*?)\n<\/trajectory>/g)].flatMap(
    ([, json = "[]"]) => JSON.parse(json) as WireMessage[],
  );
  const content = (of: (message: WireMessage) => boolean): string =>
    messages
      .filter(of)
      .map((message) => message.content ?? "")
      .join("\n");
  return {
    instructions: system,
    shared: user.slice(0, first),
    calls: messages
      .flatMap(({ tool_calls = [] }) => (tool_calls ?? []).map((call) => `${call.function.name}(${call.function.arguments})`))
      .join("\n"),
    results: content(({ role }) => role === "tool"),
    said: content(({ role }) => role !== "tool"),
  };
}
