import { ANTHROPIC_MESSAGES } from "./anthropic-messages.ts";
import type { LiveApi } from "./live-api.ts";
import { OPENAI_CHAT, OPENAI_COMPLETIONS } from "./openai-chat.ts";
import { OPENAI_RESPONSES } from "./openai-responses.ts";
import type { Refusal } from "./refusal.ts";

export type Endpoint =
  | { kind: "live"; path: string; api: LiveApi }
  | { kind: "models" }
  | { kind: "health" }
  | { kind: "refused"; refusal: Refusal };

/** What is passed through, by path. */
export const LIVE_APIS: Readonly<Record<string, LiveApi>> = {
  "/v1/chat/completions": OPENAI_CHAT,
  "/v1/completions": OPENAI_COMPLETIONS,
  "/v1/responses": OPENAI_RESPONSES,
  "/v1/messages": ANTHROPIC_MESSAGES,
};

/**
 * What a request line asks for. Paths are compared as they came and only paths of this table are sent upstream, so that no spelling
 * (`//`, `..`, `%6c`) reaches vLLM's adapter management: whoever holds the inference key could load adapters there.
 */
export function endpointOf(method: string, url: string): Endpoint {
  const path = url.split("?", 1)[0] ?? "";
  if (path === "/health") return method === "GET" ? { kind: "health" } : wrongMethod("GET");
  if (path === "/v1/models") return method === "GET" ? { kind: "models" } : wrongMethod("GET");
  const api = Object.hasOwn(LIVE_APIS, path) ? LIVE_APIS[path] : undefined;
  if (api !== undefined) return method === "POST" ? { kind: "live", path, api } : wrongMethod("POST");
  return /lora/i.test(decoded(path))
    ? refused({ status: 403, code: "adapter_management_refused", message: "Adapters are managed by Nightshift's adapter agent only." })
    : refused({ status: 404, code: "unknown_path", message: "The gateway does not serve this path." });
}

function wrongMethod(expected: string): Endpoint {
  return refused({ status: 405, code: "method_not_allowed", message: `This path takes ${expected} only.` });
}

function refused(refusal: Refusal): Endpoint {
  return { kind: "refused", refusal };
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}
