/**
 * `fetch` that follows no redirect, which would carry the credential and the arguments to somebody whom nobody named, and whose answers end with an error after `maxBytes`: a server
 * that pours must not fill the memory.
 */
export function createBoundedFetch(maxBytes: number): typeof fetch {
  return async (input, init) => {
    const { body, status, statusText, headers } = await fetch(input, { ...init, redirect: "error" });
    if (body === null) return new Response(null, { status, statusText, headers });
    let bytes = 0;
    const bounded = new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        bytes += chunk.byteLength;
        if (bytes > maxBytes) controller.error(new Error(`more than ${maxBytes} bytes`));
        else controller.enqueue(chunk);
      },
    });
    return new Response(body.pipeThrough(bounded), { status, statusText, headers });
  };
}
