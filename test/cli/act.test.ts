import { afterEach, describe, expect, test } from "vitest";
import { cli, stubApi, type StubApi } from "./terminal.ts";

let api: StubApi | null = null;
afterEach(async () => {
  await api?.close();
  api = null;
});

const experiment = (id: string, state: string): object => ({ id, state, candidate: { name: `support-${id}` } });

/** An API with these experiments of the agent `support`, whose candidate has traffic for the first `looks` times that it is asked for, and none, or a weight of 0, after that. */
async function withExperiments(experiments: object[], looks = 0, after: object | null = null): Promise<StubApi> {
  let left = looks;
  const answers: Record<string, unknown> = {
    "GET /v1/experiments": { experiments },
    "POST /v1/experiments/2/actions": { httpStatus: 202, body: { status: "recorded" } },
    "POST /v1/experiments/1/actions": { httpStatus: 202, body: { status: "recorded" } },
    "POST /v1/experiments/3/actions": { httpStatus: 202, body: { status: "recorded" } },
    get "GET /v1/traffic"() {
      return { agent: "support", candidate: left-- > 0 ? { name: "support-2", weight: 0.1 } : after };
    },
  };
  api = await stubApi(answers);
  return api;
}

const rollback = (url: string, ...options: string[]) =>
  cli(["rollback", "--agent", "support", "--actor", "somebody", "--url", url, ...options]);

describe("rollback", () => {
  test("without a running canary undoes the newest promotion", async () => {
    const { url, requests } = await withExperiments([experiment("2", "rolled_back"), experiment("1", "promoted")]);
    expect(await rollback(url)).toMatchObject({ code: 0, out: "rollback recorded for support-1 (experiment 1)" });
    expect(requests.at(-1)).toMatchObject({ line: "POST /v1/experiments/1/actions", body: { action: "rollback", actor: "somebody" } });
  });

  test("--only-running leaves promotions alone, and that is no failure", async () => {
    const { url, requests } = await withExperiments([experiment("2", "rolled_back"), experiment("1", "promoted")]);
    expect(await rollback(url, "--only-running")).toMatchObject({ code: 0, out: "no canary of support is running", err: "" });
    expect(requests.map(({ line }) => line)).toEqual(["GET /v1/experiments?agent=support"]);
  });

  test("--only-running ends the canary, --wait returns once its agent's traffic is on stable", async () => {
    const { url, requests } = await withExperiments([experiment("2", "canary"), experiment("1", "promoted")], 2);
    const told = await rollback(url, "--only-running", "--wait", "--json");
    expect(JSON.parse(told.out)).toEqual({ action: "rollback", experiment: "2", candidate: "support-2" });
    expect(requests.map(({ line }) => line)).toEqual([
      "GET /v1/experiments?agent=support",
      "POST /v1/experiments/2/actions",
      "GET /v1/traffic?agent=support",
      "GET /v1/traffic?agent=support",
      "GET /v1/traffic?agent=support",
    ]);
  });

  test("--wait waits also for a canary that has ended and whose traffic has not", async () => {
    const { url, requests } = await withExperiments([experiment("2", "rolled_back")], 1);
    expect(await rollback(url, "--only-running", "--wait")).toMatchObject({ code: 0 });
    expect(requests.filter(({ line }) => line === "GET /v1/traffic?agent=support")).toHaveLength(2);
  });

  test("--wait is over with a weight of 0: nobody need lead to name no candidate any more", async () => {
    const { url, requests } = await withExperiments([experiment("2", "canary")], 1, { name: "support-2", weight: 0 });
    expect(await rollback(url, "--only-running", "--wait")).toMatchObject({ code: 0 });
    expect(requests.filter(({ line }) => line === "GET /v1/traffic?agent=support")).toHaveLength(2);
  });

  test("--and-waiting takes those out that wait, before the running one makes place for them", async () => {
    const { url, requests } = await withExperiments([experiment("3", "queued"), experiment("2", "canary"), experiment("1", "promoted")]);
    expect(await rollback(url, "--only-running", "--and-waiting")).toMatchObject({
      out: "rollback recorded for support-2 (experiment 2)\nsupport-3 no longer waits",
    });
    expect(requests.slice(1).map(({ line, body }) => [line, (body as { action: string }).action])).toEqual([
      ["POST /v1/experiments/3/actions", "supersede"],
      ["POST /v1/experiments/2/actions", "rollback"],
    ]);
  });
});

test("the other actions know neither option", async () => {
  for (const action of ["promote", "pause", "resume"]) expect(await cli([action, "--only-running"])).toMatchObject({ code: 2 });
});
