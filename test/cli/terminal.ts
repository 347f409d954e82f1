import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text as readText } from "node:stream/consumers";
import { runCli } from "../../src/cli/program.ts";

/** Runs one command line in this process, as a terminal without colours would see it. */
export async function cli(args: readonly string[], env: Record<string, string> = {}): Promise<{ code: number; out: string; err: string }> {
  const out: string[] = [];
  const err: string[] = [];
  const code = await runCli(args, {
    env,
    out: (text) => out.push(text),
    err: (text) => err.push(text),
    colours: false,
    signal: new AbortController().signal,
  });
  return { code, out: out.join("\n"), err: err.join("\n") };
}

export interface StubApi {
  url: string;
  /** `METHOD /path?query` with the body and the credential of every request, in order. */
  requests: { line: string; body: unknown; authorization: string | undefined }[];
  close(): Promise<void>;
}

/** An API that answers from a table by `METHOD /path` (without the query). A value of `{ httpStatus, body }` sets the status; anything unknown is a 404 of ours. */
export async function stubApi(answers: Readonly<Record<string, unknown>>): Promise<StubApi> {
  const requests: StubApi["requests"] = [];
  const server = createServer((request, response) => void answer(request, response));
  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const text = await readText(request);
    const { pathname } = new URL(request.url ?? "/", "http://stub");
    requests.push({
      line: `${request.method} ${request.url}`,
      body: text === "" ? null : (JSON.parse(text) as unknown),
      authorization: request.headers.authorization,
    });
    const told = answers[`${request.method} ${pathname}`] ?? {
      httpStatus: 404,
      body: { error: { code: "not_found", message: "there is no x" } },
    };
    const { httpStatus = 200, body = told } = told as { httpStatus?: number; body?: unknown };
    response.writeHead(httpStatus, { "content-type": "application/json" }).end(typeof body === "string" ? body : JSON.stringify(body));
  }
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
