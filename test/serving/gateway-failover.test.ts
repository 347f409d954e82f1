import type { ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { completion, echo, sendJson, sendUnknownModel, startUpstream, type Answerer } from "./fake-upstream.ts";
import { BASE, CANDIDATE, experiment, STABLE, startGateway } from "./gateway-fixture.ts";

/** Answers as `faults` says for the models that it names, otherwise with a completion. */
function faulty(faults: Record<string, "not_found" | "error" | "unavailable" | "reset">): Answerer {
  return (request, response) => {
    const model = String(request.body["model"]);
    switch (faults[model]) {
      case "not_found":
        return sendUnknownModel(response, model);
      case "error":
        return sendJson(response, { error: { message: "CUDA error" } }, 500);
      case "unavailable":
        return sendJson(response, { error: { message: "starting" } }, 503);
      case "reset":
        return void response.socket?.destroy();
      case undefined:
        return sendJson(response, completion(model));
    }
  };
}

describe("a candidate that fails before its first byte", () => {
  test.each([
    { fault: "not_found", fallback: "candidate_not_found" },
    { fault: "error", fallback: "candidate_server_error" },
    { fault: "unavailable", fallback: "candidate_server_error" },
    { fault: "reset", fallback: "candidate_unreachable" },
  ] as const)("with $fault is answered by stable, and its unit stays in its arm", async ({ fault, fallback }) => {
    const upstream = await startUpstream(faulty({ [CANDIDATE.name]: fault }));
    await using gateway = await startGateway({ upstreams: [upstream], routes: experiment(1) });
    const answer = await gateway.chat("key");
    expect(answer.status).toBe(200);
    expect(await answer.json()).toMatchObject({ model: STABLE.name });
    expect(answer.headers.get("x-nightshift-arm")).toBe("candidate");
    expect(answer.headers.get("x-nightshift-adapter")).toBe(STABLE.digest);
    const spans = await gateway.spans();
    expect(spans.length).toBe(1);
    expect(spans[0]?.attributes).toMatchObject({
      "nightshift.assignment.arm": "candidate",
      "nightshift.adapter": STABLE.digest,
      "nightshift.fallback": fallback,
    });
    await upstream.close();
  });

  test.each(["lost it", "takes no connection"])("on a replica that %s is answered by the candidate of another one", async (problem) => {
    const [well, other] = await Promise.all([startUpstream(echo), startUpstream(faulty({ [CANDIDATE.name]: "not_found" }))]);
    if (problem === "takes no connection") await other.close();
    await using gateway = await startGateway({ upstreams: [other, well], routes: experiment(1) });
    // In turn: each replica is the first to be asked.
    for (let call = 0; call < 4; call++) expect(await (await gateway.chat("key")).json()).toMatchObject({ model: CANDIDATE.name });
    for (const { attributes } of await gateway.spans()) expect(attributes).not.toHaveProperty("nightshift.fallback");
    await Promise.all([well.close(), other.close()]);
  });

  test("on every replica has asked each once, and its replicas are well enough for stable", async () => {
    const upstreams = await Promise.all([1, 2].map(() => startUpstream(faulty({ [CANDIDATE.name]: "not_found" }))));
    await using gateway = await startGateway({ upstreams, routes: experiment(1) });
    expect(await (await gateway.chat("key")).json()).toMatchObject({ model: STABLE.name });
    const asked = upstreams.flatMap(({ seen }) => seen.map(({ body }) => String(body["model"])));
    expect(asked.filter((model) => model === CANDIDATE.name)).toHaveLength(2);
    expect(asked.filter((model) => model === STABLE.name)).toHaveLength(1);
    await Promise.all(upstreams.map((each) => each.close()));
  });

  test("by never answering is answered by stable when the time is over", async () => {
    const upstream = await startUpstream((request, response) => {
      if (request.body["model"] !== CANDIDATE.name) sendJson(response, completion(String(request.body["model"])));
    });
    await using gateway = await startGateway({ upstreams: [upstream], routes: experiment(1), gateway: { upstreamTimeoutMs: 1_000 } });
    expect(await (await gateway.chat("key")).json()).toMatchObject({ model: STABLE.name });
    await upstream.close();
  });
});

describe("a replica that does not answer in time", () => {
  const second = 1_000;
  const gatewayOf = (upstreams: Awaited<ReturnType<typeof startUpstream>>[]) =>
    startGateway({ upstreams, routes: experiment(0), gateway: { upstreamTimeoutMs: second } });
  const hangs: Answerer = () => undefined;

  test("and answers nobody else either, hangs: the call goes to another one", async () => {
    const upstreams = [await startUpstream(hangs), await startUpstream(echo)];
    await using gateway = await gatewayOf(upstreams);
    // In turn: one of the two meets the replica that hangs.
    const answers = await Promise.all([gateway.chat("a"), gateway.chat("b")]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    await Promise.all(upstreams.map((upstream) => upstream.close()));
  });

  test("and answered somebody just before it fell silent, hangs as well", async () => {
    const asked: ServerResponse[] = [];
    const answersOnce: Answerer = (request, response) => {
      asked.push(response);
      // The first call waits for ever, the second is answered while it waits, and nobody after it.
      if (asked.length === 2) sendJson(response, completion(String(request.body["model"])));
    };
    const upstreams = [await startUpstream(answersOnce), await startUpstream(echo)];
    await using gateway = await gatewayOf(upstreams);
    const first = gateway.chat("a");
    while (asked.length === 0) await sleep(5);
    while (asked.length === 1) await gateway.chat("b");
    expect((await first).status).toBe(200);
    await Promise.all(upstreams.map((upstream) => upstream.close()));
  });

  test("but answers others meanwhile, is busy: the call is not sent a second time", async () => {
    const slowFor = "slow";
    const busy: Answerer = (request, response) => {
      if (!JSON.stringify(request.body).includes(slowFor)) sendJson(response, completion(String(request.body["model"])));
    };
    const upstreams = [await startUpstream(busy), await startUpstream(busy)];
    await using gateway = await gatewayOf(upstreams);
    const slow = gateway.chat("a", { messages: [{ role: "user", content: slowFor }] });
    let isOver = false;
    void slow.finally(() => (isOver = true));
    for (let n = 0; !isOver; n += 1) await gateway.chat(`other-${n}`);
    expect((await slow).status).toBe(504);
    await Promise.all(upstreams.map((upstream) => upstream.close()));
  });

  test("but sends on a stream that it began before, is busy as well", async () => {
    const seen: string[] = [];
    const streaming: Answerer = (request, response) => {
      const text = JSON.stringify(request.body);
      seen.push(text);
      if (text.includes("slow")) return;
      response.writeHead(200, { "content-type": "text/event-stream" });
      const sending = setInterval(() => response.write("data: {}\n\n"), second / 10);
      response.once("close", () => clearInterval(sending));
    };
    const upstreams = [await startUpstream(streaming), await startUpstream(streaming)];
    await using gateway = await gatewayOf(upstreams);
    // One for each replica, begun and never ended.
    await Promise.all([gateway.chat("b", { stream: true }), gateway.chat("c", { stream: true })]);
    const slow = gateway.chat("a", { messages: [{ role: "user", content: "slow" }] });
    expect((await slow).status).toBe(504);
    expect(seen.filter((text) => text.includes("slow"))).toHaveLength(1);
    await Promise.all(upstreams.map((upstream) => upstream.close()));
  });

  test("with every replica hanging, the call fails after two tries", async () => {
    const upstreams = [await startUpstream(hangs), await startUpstream(hangs)];
    await using gateway = await gatewayOf(upstreams);
    expect((await gateway.chat("a")).status).toBe(504);
    await Promise.all(upstreams.map((upstream) => upstream.close()));
  });
});

describe("stable", () => {
  test.each([
    { what: "evicted everywhere, is answered by the base", first: "not_found", second: "not_found", status: 200, model: BASE.name },
    { what: "evicted on one replica, is answered by another", first: "not_found", second: undefined, status: 200, model: STABLE.name },
    {
      what: "unavailable on one replica, is answered by another",
      first: "unavailable",
      second: undefined,
      status: 200,
      model: STABLE.name,
    },
    { what: "reset by one replica, is answered by another", first: "reset", second: undefined, status: 200, model: STABLE.name },
    {
      what: "failing with 500, which may be the request's fault, is not repeated",
      first: "error",
      second: "error",
      status: 500,
      model: undefined,
    },
    { what: "unavailable everywhere, passes the 503 on", first: "unavailable", second: "unavailable", status: 503, model: undefined },
  ] as const)("$what", async ({ first, second, status, model }) => {
    const upstreams = await Promise.all(
      [first, second].map((fault) => startUpstream(faulty(fault === undefined ? {} : { [STABLE.name]: fault }))),
    );
    await using gateway = await startGateway({ upstreams, routes: experiment(0) });
    const answer = await gateway.chat("key");
    expect(answer.status).toBe(status);
    if (model !== undefined) expect(await answer.json()).toMatchObject({ model });
    if (status === 500) expect(upstreams.flatMap(({ seen }) => seen).length).toBe(1);
    await Promise.all(upstreams.map((each) => each.close()));
  });

  test("is not asked twice for a response that a server may have stored", async () => {
    const upstreams = await Promise.all([1, 2].map(() => startUpstream(faulty({ [STABLE.name]: "reset" }))));
    await using gateway = await startGateway({ upstreams, routes: experiment(0) });
    const answer = await fetch(`${gateway.url}/v1/responses`, { method: "POST", body: `{"model":"shop-model","input":"hi"}` });
    expect(answer.status).toBe(503);
    expect(upstreams.flatMap(({ seen }) => seen).length).toBe(1);
    await Promise.all(upstreams.map((each) => each.close()));
  });
});

describe("replicas", () => {
  test("take turns", async () => {
    const upstreams = await Promise.all([1, 2, 3].map(() => startUpstream(echo)));
    await using gateway = await startGateway({ upstreams });
    for (let call = 0; call < 9; call++) await (await gateway.chat("key")).arrayBuffer();
    expect(upstreams.map(({ seen }) => seen.length)).toEqual([3, 3, 3]);
    await Promise.all(upstreams.map((each) => each.close()));
  });

  test("that failed a call are not asked again by it, even when it is their turn", async () => {
    const { promise: goodAsked, resolve: onGoodAsked } = Promise.withResolvers<void>();
    const [bad, good] = await Promise.all([
      startUpstream(async (_request, response) => {
        await goodAsked;
        sendJson(response, {}, 503);
      }),
      startUpstream((request, response) => {
        onGoodAsked();
        return echo(request, response);
      }),
    ]);
    await using gateway = await startGateway({ upstreams: [bad, good] });
    const calls = await Promise.all([gateway.chat("a"), gateway.chat("b")]);
    expect(calls.map(({ status }) => status)).toEqual([200, 200]);
    expect([bad.seen.length, good.seen.length]).toEqual([1, 2]);
    await Promise.all([bad.close(), good.close()]);
  });

  test("that keep failing are left out, probed later, and back when they are well", async () => {
    let nowMs = 0;
    let isDown = true;
    const [good, bad] = await Promise.all([
      startUpstream(echo),
      startUpstream((request, response) => (isDown ? sendJson(response, {}, 503) : echo(request, response))),
    ]);
    await using gateway = await startGateway({ upstreams: [good, bad], monotonicMs: () => nowMs });
    const calls = async (times: number) => {
      const before = bad.seen.length;
      for (let call = 0; call < times; call++) expect((await gateway.chat("key")).status).toBe(200);
      return bad.seen.length - before;
    };
    expect(await calls(12)).toBe(3);
    expect(await calls(6)).toBe(0);
    nowMs += 600;
    expect(await calls(6)).toBe(1);
    isDown = false;
    nowMs += 1_100;
    expect(await calls(6)).toBe(3);
    await Promise.all([good.close(), bad.close()]);
  });

  test("that are all gone give 503 with Retry-After, at once when the circuit is open", async () => {
    const upstream = await startUpstream(echo);
    await upstream.close();
    await using gateway = await startGateway({ upstreams: [upstream], monotonicMs: () => 0 });
    for (let call = 0; call < 3; call++) {
      const answer = await gateway.chat("key");
      expect(answer.status).toBe(503);
      expect(Number(answer.headers.get("retry-after"))).toBeGreaterThanOrEqual(1);
      expect(await answer.json()).toMatchObject({ error: { code: "upstream_unavailable", type: "api_error" } });
    }
  });
});
