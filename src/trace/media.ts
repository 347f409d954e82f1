import { isRecord } from "./json.ts";
import type { Message, Part } from "./message.ts";

/** An image, a sound or a document that lies inside a message. */
export interface Media {
  modality: "image" | "audio" | "video" | "document";
  mimeType: string;
  bytes: Uint8Array;
}

/** The part that stands where a medium was: the GenAI `file` part with what it takes to read it. `file_id` is absent where it was not kept. */
export interface MediaReference extends Record<string, unknown> {
  type: "file";
  modality: Media["modality"];
  mime_type: string;
  size: number;
  file_id?: string;
}

/**
 * A copy of the message with every medium that it holds replaced by what `refer` makes of it: parts, and parts inside the answers of tools. Addresses of media stay as
 * they are: nothing is ever fetched. The same message where there are none.
 */
export function replaceMedia(message: Message, refer: (media: Media) => MediaReference): Message {
  let found = false;
  const replacePart = (part: Part): Part => {
    const media = mediaOf(part);
    if (media !== null) {
      found = true;
      return refer(media);
    }
    if (part.type !== "tool_call_response" || !Array.isArray(part["response"])) return part;
    const response = part["response"].map((item: unknown) => (isRecord(item) ? replacePart(item as Part) : item));
    return { ...part, response };
  };
  const parts = message.parts.map(replacePart);
  return found ? { ...message, parts } : message;
}

/**
 * The medium of a part in any of the forms that SDKs record: GenAI's blob, data URLs of the chat and responses APIs and of OpenInference, `input_audio`, Anthropic's source,
 * MCP's content. Null for every other part, and for what is no base64.
 */
function mediaOf(part: Part): Media | null {
  const url = dataUrlOf(part);
  if (url !== null) return fromDataUrl(url);
  const inline = inlineOf(part);
  if (inline === null) return null;
  const bytes = fromBase64(inline.data);
  return bytes === null ? null : { modality: modalityOf(inline.mimeType, part), mimeType: inline.mimeType, bytes };
}

/** Where each form keeps its address. */
const URL_PATHS: readonly (readonly string[])[] = [
  ["image_url", "url"],
  ["image_url"],
  ["image", "image", "url"],
  ["image", "url"],
  ["audio", "audio", "url"],
  ["audio", "url"],
  ["file", "file_data"],
  ["file_data"],
  ["source", "url"],
  ["uri"],
  ["url"],
  ["image"],
];

function dataUrlOf(part: Part): string | null {
  if (part.type === "text" || part.type === "tool_call") return null;
  for (const path of URL_PATHS) {
    const value = path.reduce<unknown>((node, key) => (isRecord(node) && Object.hasOwn(node, key) ? node[key] : undefined), part);
    if (typeof value === "string" && value.startsWith("data:")) return value;
  }
  return null;
}

function fromDataUrl(url: string): Media | null {
  const comma = url.indexOf(",");
  const header = /^data:([\w.+-]+\/[\w.+-]+)?(?:;[\w.+-]+=[^;,]*)*;base64$/i.exec(url.slice(0, Math.min(comma, 300)));
  if (comma === -1 || header === null) return null;
  const bytes = fromBase64(url.slice(comma + 1));
  const mimeType = (header[1] ?? "application/octet-stream").toLowerCase();
  return bytes === null ? null : { modality: modalityOf(mimeType, null), mimeType, bytes };
}

function inlineOf(part: Part): { data: string; mimeType: string } | null {
  const text = (value: unknown): string | undefined => (typeof value === "string" && value !== "" ? value : undefined);
  if (part.type === "blob" || part.type === "binary") {
    const data = text(part["content"]) ?? text(part["data"]);
    return data === undefined
      ? null
      : { data, mimeType: text(part["mime_type"]) ?? text(part["media_type"]) ?? "application/octet-stream" };
  }
  const audio = part["input_audio"];
  if (isRecord(audio) && text(audio["data"]) !== undefined) {
    return { data: String(audio["data"]), mimeType: `audio/${text(audio["format"]) ?? "wav"}` };
  }
  const source = part["source"];
  if (isRecord(source) && source["type"] === "base64" && text(source["data"]) !== undefined) {
    return { data: String(source["data"]), mimeType: text(source["media_type"]) ?? "application/octet-stream" };
  }
  const mimeType = text(part["mimeType"]);
  return mimeType !== undefined && text(part["data"]) !== undefined ? { data: String(part["data"]), mimeType } : null;
}

const MODALITIES: ReadonlySet<string> = new Set(["image", "audio", "video", "document"]);

function modalityOf(mimeType: string, part: Part | null): Media["modality"] {
  const given = part?.["modality"];
  if (typeof given === "string" && MODALITIES.has(given)) return given as Media["modality"];
  const kind = mimeType.split("/", 1)[0] ?? "";
  return kind === "image" || kind === "audio" || kind === "video" ? kind : "document";
}

/** Standard or URL-safe, with line breaks or without; null for anything else, which then stays as it is. */
function fromBase64(text: string): Uint8Array | null {
  // Blanks go first: a pattern that allows them in two places takes time by the square of a long run of them.
  const compact = text.replaceAll(/\s+/g, "");
  return /^[A-Za-z0-9+/_-]+={0,2}$/.test(compact) ? Buffer.from(compact, "base64") : null;
}
