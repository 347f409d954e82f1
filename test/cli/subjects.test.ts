import { afterAll, beforeAll, expect, test } from "vitest";
import { runCli } from "../../src/cli/program.ts";
import { cli, stubApi, type StubApi } from "./terminal.ts";

const VIEW = {
  ...{
    tenant: "shop",
    subjectHash: "ab12",
    isWholeKey: true,
    held: { conversations: 2, spans: 9 },
    sharedConversations: 1,
    runs: ["run-1"],
  },
  adapters: [{ name: "shop-3-abc", digest: "sha256:a", runId: "run-1", how: "trained" }],
  erasures: [],
};
const REPORT = {
  ...{ id: "e-1", tenant: "shop", subjectHash: "ab12", state: "started", removed: { spans: 9, trajectories: 2 }, sharedConversations: 1 },
  ...{ runs: ["run-1"], endedRuns: ["run-2"], isWholeKey: false, adapters: VIEW.adapters },
};
let api: StubApi;
beforeAll(async () => {
  api = await stubApi({ "GET /v1/subjects/anna%2F1": VIEW, "DELETE /v1/subjects/anna%2F1": REPORT });
});
afterAll(() => api.close());
const asked = () => api.requests.splice(0).map(({ line }) => line);

test("subjects show says what is held, and what learned from it", async () => {
  const { code, out } = await cli(["subjects", "show", "anna/1", "--tenant", "shop", "--url", api.url]);
  expect(code).toBe(0);
  expect(out).toMatch(/held\s+spans 9, conversations 2/);
  expect(out).toMatch(/shop-3-abc \(trained\)/);
  expect(asked()).toEqual(["GET /v1/subjects/anna%2F1?tenant=shop"]);
});

test("subjects erase asks first: without anybody to ask, or with a no, nothing is erased", async () => {
  const alone = await cli(["subjects", "erase", "anna/1", "--url", api.url]);
  expect(alone).toMatchObject({ code: 2, out: "" });
  expect(alone.err).toMatch(/--yes/);
  const questions: string[] = [];
  const answered = (yes: boolean) => {
    const [out, err] = [[] as string[], [] as string[]];
    const context = { env: {}, out: (line: string) => out.push(line), err: (line: string) => err.push(line), colours: false };
    const confirm = (question: string) => Promise.resolve((questions.push(question), yes));
    const { signal } = new AbortController();
    return runCli(["subjects", "erase", "anna/1", "--actor", "eva", "--url", api.url], { ...context, signal, confirm });
  };
  expect(await answered(false)).toBe(2);
  expect(asked()).toEqual(["GET /v1/subjects/anna%2F1", "GET /v1/subjects/anna%2F1"]);
  expect(await answered(true)).toBe(0);
  expect(asked()).toEqual(["GET /v1/subjects/anna%2F1", "DELETE /v1/subjects/anna%2F1?actor=eva"]);
  expect(questions[0]).toMatch(
    /^Erase anna\/1 for good \(spans 9, conversations 2; 1 adapters learned from it and stay; 1 of its conver.+\)\?$/,
  );
});

test("subjects erase --yes does not ask, and says what is still to go and what stays", async () => {
  const { code, out, err } = await cli(["subjects", "erase", "anna/1", "--yes", "--actor", "eva", "--url", api.url]);
  expect(code).toBe(0);
  expect(asked()).toEqual(["DELETE /v1/subjects/anna%2F1?actor=eva"]);
  expect(out).toMatch(/state\s+no query returns it any more/);
  expect(out).toMatch(/ended nights\s+run-2/);
  expect(err).toMatch(/redaction key/);
  const json = await cli(["subjects", "erase", "anna/1", "--yes", "--json", "--url", api.url]);
  expect(JSON.parse(json.out)).toEqual(REPORT);
});
