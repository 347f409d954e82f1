import { describe, expect, it } from "vitest";
import type { Trajectory } from "../../src/trajectory/trajectory.ts";
import { define, toolConfig } from "../worlds/world.ts";
import { cascadeFor, conversation, play, type Step } from "./build.ts";

const text = { type: "string" };
const tools = [define("get_ticket", { ticket_id: text }), define("set_status", { ticket_id: text, status: text })];
const chosen = { argumentRoles: { ticket_id: "key" as const, status: "filter" as const }, entityPaths: ["ticket:{ticket_id}"] };
const ticket = { argumentRoles: { ticket_id: "key" as const }, entityPaths: ["ticket:{ticket_id}"] };
const configs = { get_ticket: toolConfig({ class: "read", ...ticket }), set_status: toolConfig({ class: "write", ...chosen }) };
const look = (id: string, parent: string | null, children: number): Step => ({
  tool: "get_ticket",
  args: { ticket_id: id },
  result: { ticket_id: id, parent, open_children: children },
});
const move = (id: string, status: string): Step => ({
  tool: "set_status",
  args: { ticket_id: id, status },
  result: { ticket_id: id, status },
});
const close = (id: string): Step => move(id, "done");

/** Tapes on which closing another ticket, named by none, left a ticket as it was. */
const unrelated = (count: number): readonly Trajectory[] =>
  Array.from({ length: count }, (_, index) =>
    conversation(`u${index}`, [look(`A${index}`, null, 3), close(`B${index}`), look(`A${index}`, null, 3)], {
      tools,
      startMs: index * 1e6,
    }),
  );

/** The rungs of what my own tape answers when I close `closed`, which it had not closed, before I look at P. */
function lookAfterClosing(closed: string, others: readonly Trajectory[]): readonly string[] {
  const child = conversation("child", [look("C", "P", 0), look("D", null, 0)], { tools, startMs: 1e8 });
  const mine = conversation("mine", [look("P", null, 2)], { tools, startMs: 2e8 });
  return play(cascadeFor([...others, child, mine], { configs }), mine, [close(closed), look("P", null, 0)]).map(({ rung }) => rung);
}

it("keeps an own answer after a write to something else that a tape showed to leave such answers alone", () => {
  expect(lookAfterClosing("D", unrelated(3))).toEqual(["R4", "R2"]);
  // Where none tells, it is derived: the read was declared to depend on what it names alone.
  const closing = Array.from({ length: 3 }, (_, index) => conversation(`c${index}`, [close(`X${index}`)], { tools, startMs: index * 1e6 }));
  expect(lookAfterClosing("D", closing)).toEqual(["R4", "R4"]);
});

it("does not take what other tickets showed for what a ticket shows that names this one", () => {
  expect(lookAfterClosing("C", unrelated(9))).toEqual(["R4", "R7"]);
  const related = (count: number, status: string): Trajectory[] =>
    Array.from({ length: count }, (_, index) => {
      const [child, parent] = [`E${index}`, `F${index}`];
      const steps = [look(child, parent, 0), look(parent, null, 1), move(child, status), look(parent, null, 1)];
      return conversation(`r${status}${index}`, steps, { tools, startMs: 1e7 + index * 1e6 });
    });
  expect(lookAfterClosing("C", related(2, "done")).at(-1)).toBe("R2");
  // Neither once, nor a child that was moved elsewhere.
  expect(lookAfterClosing("C", [...unrelated(3), ...related(1, "done")]).at(-1)).toBe("R7");
  expect(lookAfterClosing("C", [...unrelated(3), ...related(9, "review")]).at(-1)).toBe("R7");
});

it("does not answer from another tape either what a write to something that names it may have changed", () => {
  const child = conversation("child", [look("C", "P", 0), look("D", null, 0)], { tools, startMs: 1e8 });
  const theirs = conversation("theirs", [look("P", null, 2)], { tools, startMs: 2e8 });
  const mine = conversation("mine", [look("C", "P", 0)], { tools, startMs: 3e8 });
  const cascade = cascadeFor([...unrelated(3), child, theirs, mine], { configs });
  const after = (closed: string) => play(cascade, mine, [close(closed), look("P", null, 0)]).map(({ rung }) => rung);
  expect(after("D")).toEqual(["R4", "R3"]);
  expect(after("C")).toEqual(["R4", "R7"]);
});

describe("what another tape wrote before it looked", () => {
  const child = conversation("child", [look("C", "P", 0), look("D", null, 0)], { tools, startMs: 1e8 });
  const begunAt = (startMs: number): Trajectory => conversation("mine", [look("Z", null, 0)], { tools, startMs });
  /** Closed one thing, and then looked at P, from 2e8 on. */
  const theirs = (closed: string): Trajectory => conversation("theirs", [close(closed), look("P", null, 1)], { tools, startMs: 2e8 });
  const answered = (closed: string, startMs: number): string | undefined => {
    const mine = begunAt(startMs);
    return play(cascadeFor([...unrelated(3), child, theirs(closed), mine], { configs }), mine, [look("P", null, 0)])[0]?.rung;
  };

  it("is in what it saw, and not in the world of a rollout that began before", () => {
    expect(answered("C", 2e8 - 1e6)).toBe("R7");
    expect(answered("C", 3e8)).toBe("R3");
  });

  it("does not matter where nothing relates it", () => {
    expect(answered("D", 2e8 - 1e6)).toBe("R3");
  });

  it("does not matter either where the rollout has written the same", () => {
    const mine = begunAt(2e8 - 1e6);
    const cascade = cascadeFor([...unrelated(3), child, theirs("C"), mine], { configs });
    const rungs = (closed: string) => play(cascade, mine, [close(closed), look("P", null, 0)]).map(({ rung }) => rung);
    expect(rungs("C")).toEqual(["R4", "R3"]);
    expect(rungs("D")).toEqual(["R4", "R7"]);
  });

  it("comes twice where the rollout writes it again", () => {
    const mine = begunAt(3e8);
    const cascade = cascadeFor([...unrelated(3), child, theirs("C"), mine], { configs });
    expect(play(cascade, mine, [close("C"), look("P", null, 0)]).at(-1)?.rung).toBe("R7");
  });
});

it("does not take what one conversation shows twice for what two show", () => {
  const pairs = (from: number): Step[] =>
    [from, from + 1].flatMap((index) => [
      ...[look(`E${index}`, `F${index}`, 0), look(`F${index}`, null, 1), close(`E${index}`), look(`F${index}`, null, 1)],
    ]);
  const one = conversation("one", pairs(0), { tools, startMs: 1e7 });
  const another = conversation("another", pairs(2), { tools, startMs: 2e7 });
  expect(lookAfterClosing("C", [one]).at(-1)).toBe("R7");
  expect(lookAfterClosing("C", [one, another]).at(-1)).toBe("R2");
});

it("follows what the rollout made itself", () => {
  const opening = [...tools, define("open_ticket", { board: text, title: text, parent: text }, ["board", "title"])];
  const withOpening = {
    ...configs,
    open_ticket: toolConfig({
      ...{
        class: "write",
        argumentRoles: { board: "key", title: "freeText" },
        entityPaths: ["board:{board}"],
        volatileResultPaths: ["ticket_id"],
      },
    }),
  };
  const open = (id: string, parent?: string): Step => ({
    tool: "open_ticket",
    args: { board: "main", title: `about ${id}`, ...(parent === undefined ? {} : { parent }) },
    result: { ticket_id: id, status: "open" },
  });
  const others = Array.from({ length: 3 }, (_, index) =>
    conversation(`o${index}`, [look(`A${index}`, null, 3), open(`N${index}00`), look(`A${index}`, null, 3)], {
      tools: opening,
      startMs: index * 1e6,
    }),
  );
  const below = conversation("below", [open("N900", "Q")], { tools: opening, startMs: 1e7 });
  const mine = conversation("mine", [look("P", null, 2)], { tools: opening, startMs: 2e8 });
  const cascade = cascadeFor([...others, below, mine], { configs: withOpening });
  const rungs = (parent?: string) => play(cascade, mine, [open("", parent), look("P", null, 2)]).map(({ rung }) => rung);
  expect(rungs()).toEqual(["R4", "R2"]);
  // A ticket below P, of which no tape knows.
  expect(rungs("P").at(-1)).toBe("R7");
});

it("does not give up a read for one odd conversation, and goes by it where it is all that tells", () => {
  const odd = conversation("odd", [look("O", null, 3), close("N"), look("O", null, 2)], { tools, startMs: 5e7 });
  const theirs = conversation("theirs", [look("P", null, 2)], { tools, startMs: 2e8 });
  const mine = conversation("mine", [look("D", null, 0)], { tools, startMs: 3e8 });
  const after = (others: readonly Trajectory[]) =>
    play(cascadeFor([...others, theirs, mine], { configs }), mine, [close("D"), look("P", null, 0)]).map(({ rung }) => rung);
  expect(after([...unrelated(20), odd])).toEqual(["R4", "R3"]);
  const closing = Array.from({ length: 3 }, (_, index) =>
    conversation(`c${index}`, [close(`X${index}`)], { tools, startMs: 6e7 + index * 1e6 }),
  );
  expect(after([...closing, odd])).toEqual(["R4", "R7"]);
});
