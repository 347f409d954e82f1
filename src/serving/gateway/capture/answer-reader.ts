import { createParser } from "eventsource-parser";
import { record, type LiveAnswer, type LiveApi } from "../live-api.ts";

/** What an answer says; null when its bytes are not what the API answers with. A server's bytes are untrusted: nothing here throws on them. */
export function readAnswer(api: LiveApi, pieces: readonly Uint8Array[], { isEventStream }: { isEventStream: boolean }): LiveAnswer | null {
  const text = Buffer.concat(pieces).toString("utf8");
  try {
    return api.readAnswer(isEventStream ? collected(api, text) : record(JSON.parse(text)));
  } catch {
    return null;
  }
}

function collected(api: LiveApi, text: string): Record<string, unknown> {
  const collector = api.collect();
  const parser = createParser({
    onEvent({ data }) {
      if (data !== "[DONE]") collector.event(record(JSON.parse(data)));
    },
  });
  parser.feed(text);
  return collector.body();
}
