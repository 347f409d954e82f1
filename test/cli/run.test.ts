import { afterEach, describe, expect, it } from "vitest";
import { cli, stubApi, type StubApi } from "./terminal.ts";

let api: StubApi | null = null;
afterEach(async () => {
  await api?.close();
  api = null;
});

async function serve(answers: Readonly<Record<string, unknown>>): Promise<StubApi> {
  api = await stubApi(answers);
  return api;
}

describe("nightshift run", () => {
  it.each([
    { code: "run_refused", httpStatus: 422, exits: 3 },
    { code: "judge_below_agreement", httpStatus: 422, exits: 3 },
    { code: "adapter_slots_exceeded", httpStatus: 422, exits: 3 },
    // What may be otherwise soon, or by the next Secret, is tried again.
    { code: "store_unavailable", httpStatus: 503, exits: 1 },
    { code: "not_authorised", httpStatus: 401, exits: 1 },
    { code: "not_found", httpStatus: 404, exits: 1 },
    { code: "run_in_progress", httpStatus: 409, exits: 1 },
  ])("refused with $code exits $exits", async ({ code, httpStatus, exits }) => {
    const { url } = await serve({ "POST /v1/runs": { httpStatus, body: { error: { code, message: "told so" } } } });
    expect(await cli(["run", "--agent", "support", "--url", url])).toMatchObject({
      ...{ code: exits, out: "" },
      err: expect.stringMatching(/^told so\n {2}fix: \S/) as unknown,
    });
  });

  it("begins one night for a schedule, and a night in progress is no failure of it", async () => {
    const started = { runId: "r1", before: 0, isNew: true };
    const { url, requests } = await serve({ "POST /v1/runs": started });
    const asked = await cli(["run", "--agent", "support", "--once", "job-1", "--url", url]);
    expect(asked).toEqual({ code: 0, out: "run r1 started; `nightshift runs show r1` follows it", err: "" });
    expect(requests.at(-1)?.body).toEqual({ agent: "support", key: "job-1" });
    await api?.close();
    const again = await serve({ "POST /v1/runs": { ...started, isNew: false } });
    expect((await cli(["run", "--agent", "support", "--once", "job-1", "--url", again.url])).out).toMatch(
      /^run r1 was begun when it was first/,
    );
    await again.close();
    const error = { code: "run_in_progress", message: "agent support already has a run in progress: r1" };
    const busy = await serve({ "POST /v1/runs": { httpStatus: 409, body: { error } } });
    const told = await cli(["run", "--agent", "support", "--once", "job-2", "--json", "--url", busy.url]);
    expect(told).toEqual({ code: 0, out: '{"runId":null}', err: `${error.message}: there is nothing to begin` });
  });
});
