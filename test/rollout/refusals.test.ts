import { describe, expect, it } from "vitest";
import { judge, learnRefusals, type Attempted } from "../../src/rollout/cascade/refusals.ts";
import type { Scalar } from "../../src/trajectory/entities.ts";
import { cascadeFor, conversation, play, type Step } from "./build.ts";
import { define, toolConfig } from "../worlds/world.ts";

const attempt = (features: Record<string, Scalar>, kind: string | null = null): Attempted => ({
  features: new Map(Object.entries(features)),
  kind,
});
const times = <T>(count: number, make: (index: number) => T): T[] => Array.from({ length: count }, (_, index) => make(index));
const asked = (refusals: ReturnType<typeof learnRefusals>, features: Record<string, Scalar>) =>
  judge(refusals, new Map(Object.entries(features)));

describe("what tells a refusal", () => {
  it("is a value that every refusal had and no success", () => {
    const refusals = learnRefusals([...times(3, () => attempt({ free: false }, "taken")), ...times(3, () => attempt({ free: true }))], []);
    expect(asked(refusals, { free: false })).toEqual({ refusedFor: ["taken"] });
    expect(asked(refusals, { free: true })).toEqual({ refusedFor: null, undecided: 0 });
    // Three of the six were refused so.
    expect(asked(refusals, {})).toEqual({ refusedFor: null, undecided: 0.5 });
  });

  it("is a limit, with nothing said between what was refused and what was not", () => {
    const refusals = learnRefusals(
      [...times(6, (index) => attempt({ nights: 15 + index }, "too long")), ...times(10, (index) => attempt({ nights: 1 + index }))],
      [],
    );
    expect(asked(refusals, { nights: 40 })).toEqual({ refusedFor: ["too long"] });
    expect(asked(refusals, { nights: 3 })).toEqual({ refusedFor: null, undecided: 0 });
    expect(asked(refusals, { nights: 12 })).toEqual({ refusedFor: null, undecided: 6 / 16 });
  });

  it("is no value that chance alone would part so", () => {
    // Two refusals, two successes, four titles: any of them parts the two.
    const titles = ["a", "a", "b", "b"].map((title, index) => attempt({ title }, index < 2 ? "no" : null));
    expect(asked(learnRefusals(titles, []), { title: "a" })).toEqual({ refusedFor: null, undecided: 0.5 });
  });

  it("is looked for among calls with the same argument, and rules out those with another", () => {
    const refusals = learnRefusals(
      [
        ...times(6, (index) => attempt({ "given status": "done", children: 1 + (index % 2) }, "children are open")),
        ...times(6, () => attempt({ "given status": "done", children: 0 })),
        ...times(18, (index) => attempt({ "given status": "doing", children: index % 3 })),
      ],
      ["given status"],
    );
    expect(asked(refusals, { "given status": "done", children: 2 })).toEqual({ refusedFor: ["children are open"] });
    expect(asked(refusals, { "given status": "doing", children: 2 })).toEqual({ refusedFor: null, undecided: 0 });
    expect(asked(refusals, { "given status": "done" })).toEqual({ refusedFor: null, undecided: 0.5 });
  });

  it("is, of two reasons, the one that came first where both held", () => {
    const refusals = learnRefusals(
      [
        ...times(6, (index) => attempt({ nights: 20, free: index % 2 === 0 }, "too long")),
        ...times(6, () => attempt({ nights: 2, free: false }, "taken")),
        ...times(8, (index) => attempt({ nights: 1 + (index % 3), free: true })),
      ],
      [],
    );
    expect(asked(refusals, { nights: 30, free: false })).toEqual({ refusedFor: ["too long"] });
  });

  it("is looked for in time that grows no faster than the attempts, where every error has its own words", () => {
    let reads = 0;
    class Counted extends Map<string, Scalar> {
      override get(name: string): Scalar | undefined {
        reads += 1;
        return super.get(name);
      }
    }
    const readsFor = (count: number): number => {
      reads = 0;
      const failed = times(count, (index): Attempted => {
        return {
          features: new Counted([
            ["given id", `a${index}`],
            ["open", true],
          ]),
          kind: `said: ${index}`,
        };
      });
      const done = times(count, (index): Attempted => {
        return {
          features: new Counted([
            ["given id", `b${index}`],
            ["open", false],
          ]),
          kind: null,
        };
      });
      expect(learnRefusals([...failed, ...done], ["given id"])).toHaveLength(count);
      return reads;
    };
    const few = readsFor(300);
    expect(readsFor(600)).toBeLessThanOrEqual(2 * few);
  });
});

describe("a write in a state that nobody recorded", () => {
  const text = { type: "string" };
  const tools = [
    define("get_file", { path: text, revision: { type: "integer" } }, ["path"]),
    define("write_file", { path: text, expected: { type: "integer" } }, ["path"]),
    define("remove_file", { path: text }),
  ];
  const file = { argumentRoles: { path: "key" as const }, entityPaths: ["file:{path}"] };
  const configs = {
    get_file: toolConfig({ class: "read", ...file }),
    write_file: toolConfig({ class: "write", ...file }),
    remove_file: toolConfig({ class: "write", ...file }),
  };
  const get = (path: string, version: number | null): Step => ({
    tool: "get_file",
    args: { path },
    result: version === null ? { error: "no such file", path } : { path, version },
  });
  const write = (path: string, expected: number, isFine: boolean): Step => ({
    tool: "write_file",
    args: { path, expected },
    result: isFine ? { path, version: expected + 1 } : { error: "version conflict", path },
  });
  const remove = (path: string): Step => ({ tool: "remove_file", args: { path }, result: { path, removed: true } });
  const tapes = [
    ...times(6, (index) => [get(`a${index}`, index), write(`a${index}`, index, true)]),
    ...times(6, (index) => [get(`b${index}`, index), write(`b${index}`, index + 2, false)]),
    ...times(3, (index) => [get(`c${index}`, index), remove(`c${index}`), get(`c${index}`, null)]),
  ].map((turns, index) => conversation(`t${index}`, turns, { tools, startMs: index * 1e6 }));
  const mine = conversation("mine", [get("f", 4)], { tools, startMs: 9e7, says: "bring f up to date, then remove f" });
  const outcomes = (...calls: Step[]) => outcomesWith([], ...calls);
  const outcomesWith = (more: readonly Step[][], ...calls: Step[]) => {
    const others = more.map((turns, index) => conversation(`m${index}`, turns, { tools, startMs: 5e7 + index * 1e6 }));
    const cascade = cascadeFor([mine, ...tapes, ...others], { configs });
    return play(cascade, mine, calls).map(({ rung, isError }) => (rung === "R7" ? rung : isError));
  };

  it("is decided by how its argument compares with what is known", () => {
    expect(outcomes(get("f", 4), write("f", 4, true))).toEqual([false, false]);
    expect(outcomes(get("f", 4), write("f", 7, true))).toEqual([false, true]);
    // The next version is what the write before it made.
    expect(outcomes(get("f", 4), write("f", 4, true), write("f", 4, true))).toEqual([false, false, true]);
  });

  it("is not decided about what a write took away", () => {
    expect(outcomes(get("f", 4), remove("f"), write("f", 4, true))).toEqual([false, false, "R7"]);
  });

  describe("after a write whose look failed", () => {
    const failing = (path: string, args: object, error: string): Step => ({
      ...{ tool: "get_file", args: { path, ...args }, result: { error, path } },
    });
    const timedOut = (path: string): Step[] => [get(path, 3), write(path, 3, true), failing(path, {}, "timed out")];
    const malformed = (path: string): Step[] => [
      get(path, 3),
      write(path, 3, true),
      failing(path, { revision: "latest" }, "no such revision"),
    ];
    const found = (path: string): Step[] => [get(path, 3), write(path, 3, true), get(path, 4)];
    const again = [get("f", 4), write("f", 4, true), write("f", 4, true)];

    it.each([
      ["it failed once", [timedOut("x")]],
      ["it succeeded as often", [timedOut("x"), timedOut("y"), found("z"), found("w")]],
      ["its arguments were wrong", [malformed("x"), malformed("y")]],
      ["it failed twice in one conversation", [[...timedOut("x"), ...timedOut("y")]]],
    ])("is decided where %s", (_, more) => {
      expect(outcomesWith(more, ...again)).toEqual([false, false, true]);
    });

    it("is not decided where such looks fail twice, and oftener than not", () => {
      expect(outcomesWith([timedOut("x"), timedOut("y"), found("z")], ...again)).toEqual([false, false, "R7"]);
    });
  });
});

describe("a write to what others changed after the rollout saw it", () => {
  const text = { type: "string" };
  const tools = [define("get_ticket", { ticket: text }), define("close_ticket", { ticket: text })];
  const ticket = { argumentRoles: { ticket: "key" as const }, entityPaths: ["ticket:{ticket}"] };
  const configs = {
    get_ticket: toolConfig({ class: "read", ...ticket }),
    close_ticket: toolConfig({ class: "write", ...ticket }),
  };
  const get = (id: string, children: number): Step => ({ tool: "get_ticket", args: { ticket: id }, result: { ticket: id, children } });
  const close = (id: string, isFine = true): Step => ({
    tool: "close_ticket",
    args: { ticket: id },
    result: isFine ? { ticket: id, closed: true } : { error: "children are open", ticket: id },
  });
  // What a look showed before another ticket was closed tells nothing; one after it does.
  const tapes = [
    ...times(6, (index) => [get(`a${index}`, 1), close(`a${index}`, false)]),
    ...times(6, (index) => [get(`b${index}`, 0), close(`b${index}`)]),
    ...times(4, (index) => [get(`c${index}`, 1), close(`d${index}`), close(`c${index}`)]),
  ].map((turns, index) => conversation(`t${index}`, turns, { tools, startMs: index * 1e6 }));

  it("is decided by the look that it was shown, not by a later one of its tape", () => {
    const mine = conversation("mine", [get("p", 1), get("p", 0)], { tools, startMs: 9e7, says: "close p" });
    const answers = play(cascadeFor([mine, ...tapes], { configs }), mine, [get("p", 1), close("p")]);
    expect(answers).toMatchObject([
      { rung: "R1", result: JSON.stringify(get("p", 1).result) },
      { rung: "R4", isError: true },
    ]);
    // Once it has been shown the later one, that is what decides.
    const later = play(cascadeFor([mine, ...tapes], { configs }), mine, [get("p", 1), get("p", 0), close("p")]);
    expect(later[2]).toMatchObject({ rung: "R4", isError: false });
  });
});
