import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { gunzipSync } from "node:zlib";
import { decodeSpans } from "../../../src/trace/decode.ts";

export interface CollectorStub {
  url: string;
  /** Every request in order: its path, its credential, how many spans it brought. */
  requests: { path: string; authorization: string | undefined; spans: number }[];
  /** The most requests that were open at once. */
  mostAtOnce(): number;
  close(): Promise<void>;
}

export interface StubAnswer {
  status: number;
  headers?: Record<string, string>;
  body?: Uint8Array;
}

/** A collector that answers what `answer` says of the request with that number, counted from 0. */
export async function collectorStub(answer: (index: number) => StubAnswer | "hang up" | Promise<StubAnswer>): Promise<CollectorStub> {
  const requests: CollectorStub["requests"] = [];
  const open = { now: 0, most: 0 };
  const server = createServer((request, response) => {
    void (async () => {
      open.most = Math.max(open.most, ++open.now);
      const index = requests.length;
      requests.push({ path: request.url ?? "", authorization: request.headers.authorization, spans: 0 });
      const body = gunzipSync(await buffer(request));
      const entry = requests[index];
      if (entry !== undefined && entry.path === "/v1/traces") entry.spans = decodeSpans(body).length;
      const said = await answer(index);
      open.now--;
      if (said === "hang up") request.socket.destroy();
      else response.writeHead(said.status, { "content-type": "application/x-protobuf", ...said.headers }).end(said.body);
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    mostAtOnce: () => open.most,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
