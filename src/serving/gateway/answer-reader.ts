import { createParser } from "eventsource-parser";
import { record, type LiveAnswer, type LiveApi } from "./live-api.ts";

/** Reads a copy of an answer's bytes as they pass. */
export interface AnswerReader {
  seen(chunk: Buffer): void;
  /** What was said; null when it was no JSON, or longer than may be kept. */
  read(): LiveAnswer | null;
}

/** A reader for one answer. It keeps at most about `maxBytes` of it; a longer answer is passed on all the same and captured without its text. */
export function createAnswerReader(api: LiveApi, options: { isEventStream: boolean; maxBytes: number }): AnswerReader {
  let size = 0;
  let isLost = false;
  const sink = options.isEventStream ? eventStream(api, options.maxBytes) : wholeBody(api);
  return {
    seen(chunk) {
      size += chunk.length;
      isLost ||= size > options.maxBytes;
      if (isLost) return;
      try {
        sink.add(chunk);
      } catch {
        // What a server streams is untrusted; a stream that cannot be read is a call without text, never a failed call.
        isLost = true;
      }
    },
    read() {
      try {
        return isLost ? null : sink.read();
      } catch {
        return null;
      }
    },
  };
}

interface Sink {
  add(chunk: Buffer): void;
  read(): LiveAnswer | null;
}

function wholeBody(api: LiveApi): Sink {
  const chunks: Buffer[] = [];
  return {
    add: (chunk) => chunks.push(chunk),
    read: () => api.readAnswer(record(JSON.parse(Buffer.concat(chunks).toString("utf8")))),
  };
}

function eventStream(api: LiveApi, maxBytes: number): Sink {
  const collector = api.collect();
  const decoder = new TextDecoder();
  const parser = createParser({
    maxBufferSize: maxBytes,
    onEvent(event) {
      if (event.data === "[DONE]") return;
      collector.event(record(JSON.parse(event.data)));
    },
  });
  return {
    add: (chunk) => parser.feed(decoder.decode(chunk, { stream: true })),
    read: () => api.readAnswer(collector.body()),
  };
}
