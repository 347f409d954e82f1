import { retryAfterMs } from "./retry-after.ts";

/** No reply to a judge's question is near this; what is longer is cut here, and then is no JSON. */
const MAX_BODY_BYTES = 2 * 1024 * 1024;
/** The `openai` package ignores a longer Retry-After, and asks again after its own seconds. */
const LONGEST_WAIT_MS = 60_000;

/**
 * `fetch` that resolves when the whole body is there, or its first two MiB. So the caller's time limit covers the body too: a server that sends its headers and then
 * a byte a minute would otherwise be waited for as long as it likes. An answer that names a long wait says that it is not to be asked again at once.
 */
export function createBoundedFetch(now: () => number): typeof fetch {
  return async (input, init) => {
    const response = await fetch(input, init);
    const headers = new Headers(response.headers);
    // They describe the bytes on the wire.
    for (const name of ["content-encoding", "content-length", "transfer-encoding"]) headers.delete(name);
    if ((retryAfterMs(headers, now()) ?? 0) > LONGEST_WAIT_MS) headers.set("x-should-retry", "false");
    const { status, statusText } = response;
    return new Response(await readBody(response.body), { status, statusText, headers });
  };
}

async function readBody(body: ReadableStream<Uint8Array> | null): Promise<Buffer<ArrayBuffer> | null> {
  if (body === null) return null;
  const chunks: Uint8Array[] = [];
  let size = 0;
  // Leaving the loop early cancels the body.
  for await (const chunk of body) {
    chunks.push(chunk.subarray(0, MAX_BODY_BYTES - size));
    size += chunk.byteLength;
    if (size >= MAX_BODY_BYTES) break;
  }
  return Buffer.concat(chunks);
}
