import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
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

const ONE_AGENT = { "GET /v1/status": { agents: [{ agent: "support" }] } };

describe("the API", () => {
  it("that does not answer is one line and the fix", async () => {
    const { code, out, err } = await cli(["runs", "list", "--url", "http://127.0.0.1:1"]);
    expect({ code, out }).toEqual({ code: 1, out: "" });
    expect(err).toMatch(
      /^Nightshift's API at http:\/\/127\.0\.0\.1:1 does not answer: \S.*\n {2}fix: Start it with `nightshift serve --config FILE`/,
    );
  });

  it("that is something else is named as such", async () => {
    const { url } = await serve({ "GET /v1/runs": { httpStatus: 200, body: "<html>" } });
    const { code, err } = await cli(["runs", "list"], { NIGHTSHIFT_URL: url });
    expect(code).toBe(1);
    expect(err).toContain(`${url}/v1/runs?limit=20 answered HTTP 200: not an answer of Nightshift`);
  });

  it("has its own errors printed, with the fix that this version knows", async () => {
    const { url } = await serve({
      ...ONE_AGENT,
      "POST /v1/runs": {
        httpStatus: 409,
        body: { error: { code: "run_in_progress", message: "agent support already has a run in progress: r1" } },
      },
    });
    const { code, err } = await cli(["run", "--url", url]);
    expect(code).toBe(1);
    expect(err).toMatch(/^agent support already has a run in progress: r1\n {2}fix: Wait for it to end/);
  });

  it.each([
    { from: "the option", args: ["--token-file", "FILE"], env: { NIGHTSHIFT_TOKEN_FILE: "/nowhere", NIGHTSHIFT_TOKEN: "other" } },
    { from: "a file that the environment names", args: [], env: { NIGHTSHIFT_TOKEN_FILE: "FILE", NIGHTSHIFT_TOKEN: "other" } },
    { from: "the environment", args: [], env: { NIGHTSHIFT_TOKEN: "s3cret" } },
  ])("gets the token of $from, and the url of the environment", async ({ args, env }) => {
    const dir = mkdtempSync(join(tmpdir(), "nightshift-token-"));
    const file = join(dir, "token");
    writeFileSync(file, "s3cret\n");
    const { url, requests } = await serve({ "GET /v1/runs": { runs: [] } });
    const named = Object.fromEntries(Object.entries(env).map(([name, value]) => [name, value.replace("FILE", file)]));
    const { code, out } = await cli(["runs", "list", ...args.map((arg) => arg.replace("FILE", file))], {
      ...named,
      NIGHTSHIFT_URL: `${url}/`,
    });
    rmSync(dir, { recursive: true });
    expect({ code, out }).toEqual({ code: 0, out: "none" });
    expect(requests).toMatchObject([{ line: "GET /v1/runs?limit=20", authorization: "Bearer s3cret" }]);
  });
});

describe("status", () => {
  const LEADER = { name: "pod-a", epoch: 3, sinceMs: 0 };
  it.each([
    { control: { answeredBy: "pod-a", role: "leader", leader: LEADER }, says: /^leader {2}pod-a$/m, not: /answered by/ },
    { control: { answeredBy: "pod-b", role: "follower", leader: LEADER }, says: /^leader {7}pod-a\nanswered by {2}pod-b$/m, not: /nobody/ },
    { control: { answeredBy: "pod-b", role: "follower", leader: null }, says: /^leader {7}nobody leads/m, not: /pod-a/ },
  ])("of $control.role names who leads: $control.leader", async ({ control, says, not }) => {
    const { url } = await serve({ "GET /v1/status": { control, agents: [] } });
    const { out } = await cli(["status", "--url", url]);
    expect(out).toMatch(says);
    expect(out).not.toMatch(not);
  });
});

it("says how far the gate of a finished run is, not what became of the run before", async () => {
  const agent = {
    ...{ agent: "support", funnel: { captured: 9, complete: 9, trainable: 9, reasons: {} }, stable: { name: "support", digest: null } },
    ...{ judge: "ruler", pairJudge: "ruler", judgeTrust: { status: "calibrated" }, gateEnabled: true, sabotage: null, slots: null },
    ...{ promotesOnItsOwn: true, requireCalibration: false },
    run: { id: "second", state: "finished", steps: [], alarms: [], before: 0, gatePairs: { begun: 200, finished: 120 } },
    experiment: {
      id: "first",
      state: "promoted",
      candidate: { name: "support-1" },
      gate: null,
      numbers: null,
      conclusion: null,
      waitsFor: null,
    },
  };
  const { url } = await serve({ "GET /v1/status": { control: { role: "leader", leader: { name: "pod-a" } }, agents: [agent] } });
  const { out } = await cli(["status", "--url", url]);
  expect(out).toMatch(/^run +second finished$/m);
  expect(out).toMatch(/^gate +120 of 200 pairs played$/m);
  expect(out).not.toMatch(/first/);
});

describe("the agent", () => {
  it("may be left out where there is one", async () => {
    const { url, requests } = await serve({
      ...ONE_AGENT,
      "GET /v1/report": {
        captured: 0,
        complete: 0,
        trainable: 0,
        reasons: {},
        mends: [],
        dialects: [],
        keys: [],
        examined: 0,
        unmatched: 0,
      },
    });
    expect((await cli(["report", "--url", url])).code).toBe(0);
    expect(requests.at(-1)?.line).toBe("GET /v1/report?agent=support");
  });

  it("is the unknown one in a report where none is configured: what was captured can be seen all the same", async () => {
    const { url, requests } = await serve({
      "GET /v1/status": { agents: [] },
      "GET /v1/report": {
        captured: 1,
        complete: 0,
        trainable: 0,
        reasons: {},
        mends: [],
        dialects: [],
        keys: [],
        examined: 0,
        unmatched: 1,
      },
    });
    expect((await cli(["report", "--url", url])).code).toBe(0);
    expect(requests.at(-1)?.line).toBe("GET /v1/report?agent=unknown");
  });

  it("must be named where there are two", async () => {
    const { url } = await serve({ "GET /v1/status": { agents: [{ agent: "support" }, { agent: "sales" }] } });
    const { code, err } = await cli(["report", "--url", url]);
    expect(code).toBe(2);
    expect(err).toMatch(/^say which agent with --agent: support, sales\n/);
  });
});

describe("what people read", () => {
  it("is aligned, in UTC, and without what steers a terminal", async () => {
    const { url } = await serve({
      "GET /v1/runs": {
        runs: [
          { id: "r-10", agent: "support", state: "finished", startedAtMs: 0, outcome: { kind: "candidate", adapterName: "support-1-abc" } },
          {
            id: "r-9",
            agent: "a",
            state: "failed",
            startedAtMs: 1000,
            outcome: { kind: "failed", message: "\u001b[31mred\u0007\nsecond" },
          },
        ],
      },
    });
    const { out } = await cli(["runs", "list", "--url", url]);
    expect(out.split("\n")).toEqual([
      "run   agent    state     started               outcome",
      "r-10  support  finished  1970-01-01T00:00:00Z  support-1-abc",
      "r-9   a        failed    1970-01-01T00:00:01Z  red second",
    ]);
  });

  it("is the API's JSON with --json", async () => {
    const body = { runs: [{ id: "r", extra: true }] };
    const { url } = await serve({ "GET /v1/runs": body });
    const { out } = await cli(["runs", "list", "--json", "--url", url]);
    expect(JSON.parse(out)).toEqual(body);
  });

  it("says mends in the report", async () => {
    const { url } = await serve({
      ...ONE_AGENT,
      "GET /v1/report": {
        ...{ captured: 200, complete: 100, trainable: 50, reasons: { output_missing: 50 }, examined: 100 },
        mends: [{ reason: "output_missing", trajectories: 50, mend: "Set the switch." }],
        dialects: [{ dialect: "genai", trajectories: 100, trainable: 50 }],
        keys: [{ kind: "session", conversations: 200 }],
        unmatched: 1,
      },
    });
    const { out } = await cli(["report", "--url", url]);
    expect(out).toContain("trainable  50 (25.0 %)");
    expect(out).toMatch(/^open\s+100$/m);
    expect(out).toMatch(/1 conversation matches no agent of the config\n {2}fix: Add an agent/);
    expect(out).toContain("output_missing (50)\n  fix: Set the switch.");
    expect(out).toMatch(/genai\s+100\s+50\.0 %/);
  });
});

describe("replay", () => {
  const replayed = { trajectoryId: "t", status: "replayed", split: "train", calls: 1, unused: 0, callsByRung: { R0: 1 } };
  it.each([
    {
      name: "all equal",
      answer: { ...replayed, equal: 1, mismatches: [], answers: [{ turn: 0, index: 0, tool: "look", rung: "R0", isEqual: true }] },
      code: 0,
    },
    {
      name: "one differs",
      answer: {
        ...replayed,
        equal: 0,
        answers: [{ turn: 0, index: 0, tool: "look", rung: "R1", isEqual: false }],
        mismatches: [{ turn: 0, index: 0, tool: "look", rung: "R1", recorded: "a", served: null }],
      },
      code: 1,
    },
    { name: "not trainable", answer: { trajectoryId: "t", status: "not_trainable", reasons: ["output_missing"] }, code: 1 },
  ])("exits $code when $name", async ({ answer, code }) => {
    const { url } = await serve({ "POST /v1/replay/c%2F1": answer });
    const result = await cli(["replay", "c/1", "--url", url]);
    expect(result.code).toBe(code);
    if (answer.status === "replayed") expect(result.out).toMatch(code === 0 ? /look\s+R0\s+equal/ : /look\s+R1\s+DIFFERS/);
  });
});

describe("an operator's action", () => {
  const row = (id: string, state: string) => ({ id, state, candidate: { name: `adapter-${id}` } });
  it.each([
    { action: "pause", rows: [row("q", "queued"), row("live", "canary"), row("old", "promoted")], acts: "live" },
    { action: "rollback", rows: [row("new", "refused"), row("p2", "promoted"), row("p1", "promoted")], acts: "p2" },
    { action: "rollback", rows: [row("old", "promoted"), row("live", "attesting")], acts: "live" },
    { action: "promote", rows: [row("old", "promoted")], acts: null },
    { action: "promote", rows: [], acts: null },
  ])("$action acts on $acts", async ({ action, rows, acts }) => {
    const { url, requests } = await serve({
      ...ONE_AGENT,
      "GET /v1/experiments": { experiments: rows },
      ...Object.fromEntries(
        rows.map(({ id }) => [`POST /v1/experiments/${id}/actions`, { httpStatus: 202, body: { status: "recorded" } }]),
      ),
    });
    const { code, err } = await cli([action, "--actor", "kim", "--url", url]);
    expect(code).toBe(acts === null ? 1 : 0);
    if (acts === null) expect(err).toContain(`there is no experiment of agent support to ${action}`);
    else expect(requests.at(-1)).toMatchObject({ line: `POST /v1/experiments/${acts}/actions`, body: { action, actor: "kim" } });
  });
});

describe("run --wait", () => {
  const step = { step: "select", startedAtMs: 0, finishedAtMs: 1500, output: { trainScenarios: 4 } };
  const base = {
    id: "r",
    startedAtMs: 0,
    finishedAtMs: 2000,
    steps: [step],
    iterations: [],
    judgeSpending: [],
    judge: null,
    alarms: [],
    checks: null,
    replay: { tools: null, report: null },
  };
  it.each([
    {
      state: "finished",
      outcome: { kind: "candidate", adapterName: "support-1-abc" },
      code: 0,
      says: "run r finished after 2.0 s: candidate support-1-abc",
    },
    {
      state: "failed",
      outcome: { kind: "failed", code: "x", message: "no disk", fix: "Free some." },
      code: 1,
      says: "run r failed after 2.0 s: no disk\n  fix: Free some.",
    },
  ])("exits $code when it $state, with its progress on stderr", async ({ state, outcome, code, says }) => {
    const { url } = await serve({
      ...ONE_AGENT,
      "POST /v1/runs": { httpStatus: 202, body: { runId: "r" } },
      "GET /v1/runs/r": { ...base, state, outcome },
    });
    const result = await cli(["run", "--wait", "--url", url]);
    expect(result).toMatchObject({ code, out: says });
    expect(result.err).toMatch(/^run r\n1970-01-01T00:00:01Z {2}select {12}1\.5 s {2}trainScenarios 4$/);
  });
});
