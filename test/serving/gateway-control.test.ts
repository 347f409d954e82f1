import { createServer } from "node:http";
import { describe, expect, test } from "vitest";
import { silentLog } from "../../src/log.ts";
import { pollRoutes } from "../../src/serving/route-poll.ts";
import { echo, sendJson, startUpstream } from "./fake-upstream.ts";
import { CANDIDATE, experiment, STABLE, startGateway } from "./gateway-fixture.ts";

describe("the control plane", () => {
  test("killed in the middle of an experiment: the candidate's lease lapses, stable keeps being answered", async () => {
    let nowMs = 0;
    const upstream = await startUpstream(echo);
    const { promise: polledTwice, resolve: onPolledTwice } = Promise.withResolvers<void>();
    const control = createServer((request, response) => {
      const version = new URL(request.url ?? "", "http://x").searchParams.get("version");
      if (version === "0") sendJson(response, experiment(1));
      else onPolledTwice();
    });
    await new Promise<void>((resolve) => {
      control.listen(0, "127.0.0.1", resolve);
    });
    const address = control.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    await using gateway = await startGateway({ upstreams: [upstream], monotonicMs: () => nowMs });
    const stop = new AbortController();
    const polling = pollRoutes(
      { controlUrl: `http://127.0.0.1:${port}`, agents: ["shop"], waitMs: 5_000 },
      { table: gateway.routes, log: silentLog() },
      { signal: stop.signal },
    );
    await polledTwice;
    const modelOf = async (key: string) => ((await (await gateway.chat(key)).json()) as { model: string }).model;
    expect(await modelOf("open")).toBe(CANDIDATE.name);
    control.closeAllConnections();
    control.close();
    nowMs = 15_000;
    expect(await modelOf("open")).toBe(STABLE.name);
    expect(await modelOf("new")).toBe(STABLE.name);
    stop.abort();
    await polling;
    const spans = await gateway.spans();
    expect(
      spans.map(({ attributes }) => [attributes["nightshift.assignment.key"], attributes["nightshift.assignment.probability"]]),
    ).toEqual([
      ["open", 1],
      ["open", 1],
      ["new", 0],
    ]);
    await upstream.close();
  });

  test("that says nothing is new renews the lease; one that answers an error does not", async () => {
    let nowMs = 0;
    let status = 204;
    const answered: (() => void)[] = [];
    const control = createServer((request, response) => {
      const version = new URL(request.url ?? "", "http://x").searchParams.get("version");
      if (version === "0") return sendJson(response, experiment(1));
      answered.push(() => response.writeHead(status).end());
      onPolled();
    });
    let onPolled: () => void = () => undefined;
    const polled = () =>
      new Promise<void>((resolve) => {
        onPolled = resolve;
      });
    await new Promise<void>((resolve) => {
      control.listen(0, "127.0.0.1", resolve);
    });
    const address = control.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    await using gateway = await startGateway({ upstreams: [], monotonicMs: () => nowMs });
    const stop = new AbortController();
    const config = { controlUrl: `http://127.0.0.1:${port}/`, agents: ["shop"], waitMs: 5_000, token: "role-token" };
    const first = polled();
    const polling = pollRoutes(config, { table: gateway.routes, log: silentLog() }, { signal: stop.signal });
    await first;
    nowMs = 10_000;
    const second = polled();
    answered.shift()?.();
    await second;
    nowMs = 20_000;
    expect(gateway.routes.effective("shop")?.weight).toBe(1);
    status = 500;
    const third = polled();
    answered.shift()?.();
    await third;
    nowMs = 25_000;
    expect(gateway.routes.effective("shop")?.weight).toBe(0);
    stop.abort();
    await polling;
    control.closeAllConnections();
    control.close();
  });
});
