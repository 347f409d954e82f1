import { describe, expect, it } from "vitest";
import type { Trajectory } from "../../src/trajectory/trajectory.ts";
import { define, toolConfig } from "../worlds/world.ts";
import { cascadeFor, conversation, play, type Step } from "./build.ts";

const text = { type: "string" };
const tools = [
  define("get_booking", { booking_id: text }),
  define("update_booking", { booking_id: text, guest: text, nights: { type: "integer" } }, ["booking_id"]),
  define("get_ticket", { ticket_id: text }),
  define("open_ticket", { title: text }),
];
const booking = { argumentRoles: { booking_id: "key" as const }, entityPaths: ["booking:{booking_id}"] };
const ticket = { entityPaths: ["ticket:{ticket_id}"] };
const configs = {
  get_booking: toolConfig({ class: "read", ...booking }),
  update_booking: toolConfig({ class: "write", ...booking }),
  get_ticket: toolConfig({ class: "read", ...ticket, argumentRoles: { ticket_id: "key" } }),
  open_ticket: toolConfig({ class: "write", argumentRoles: { title: "filter" }, volatileResultPaths: ["ticket_id"] }),
};
const times = <T>(count: number, make: (index: number) => T): T[] => Array.from({ length: count }, (_, index) => make(index));
const told = (id: string, steps: readonly Step[], startMs: number): Trajectory => conversation(id, steps, { tools, startMs });

const look = (id: string): Step => ({ tool: "get_booking", args: { booking_id: id }, result: { booking_id: id, state: "booked" } });
const missing = (id: string): Step => ({ ...look(id), result: { error: "no such booking", booking_id: id } });
const change = (id: string, changes: object, error?: string): Step => ({
  tool: "update_booking",
  args: { booking_id: id, ...changes },
  result: { booking_id: id, ...(error === undefined ? changes : { error }) },
});

describe("a write whose refusals are on tapes that may not answer", () => {
  const refused = (id: string): readonly Step[] => [look(id), change(id, { nights: 40 }, "too long")];
  const renamed = (id: string): readonly Step[] => [look(id), change(id, { guest: "Bo" })];
  /** Seven refusals, all with nights, and `without` changes without: by chance alone once in 6,435 for eight. */
  const answersTo = (own: readonly Step[], calls: readonly Step[], without = 8): readonly string[] => {
    const others = [
      ...times(7, (index) => told(`no${index}`, refused(`N${index}`), index * 1e6)),
      ...times(without, (index) => told(`yes${index}`, renamed(`Y${index}`), 1e8 + index * 1e6)),
    ];
    const example = told("example", renamed("E1"), 2e8);
    const mine = told("mine", own, 3e8);
    const cascade = cascadeFor([...others, example, mine], { configs, heldOut: others.map(({ id }) => id) });
    return play(cascade, mine, calls).map(({ rung, isError }) => (isError ? `${rung} error` : rung));
  };

  it("is granted without an argument that every refusal had, and is a miss with it", () => {
    expect(answersTo([look("A")], [look("A"), change("A", { guest: "Cy" })])).toEqual(["R1", "R4"]);
    expect(answersTo([look("A")], [look("A"), change("A", { nights: 2 })])).toEqual(["R1", "R7"]);
  });

  it("is granted though what is missing is refused whatever it was given, by whoever had not looked too", () => {
    const gone = (id: string): Step => change(id, { guest: "Bo" }, "no such booking");
    const others = [
      ...times(7, (index) => told(`no${index}`, refused(`N${index}`), index * 1e6)),
      ...times(8, (index) => told(`yes${index}`, renamed(`Y${index}`), 1e8 + index * 1e6)),
      ...times(2, (index) => told(`gone${index}`, [missing(`M${index}`), gone(`M${index}`)], 2e8 + index * 1e6)),
      told("unseen", [gone("U")], 3e8),
    ];
    const mine = told("mine", [look("A")], 4e8);
    const cascade = cascadeFor([...others, mine], { configs, heldOut: others.map(({ id }) => id) });
    const rungs = (changes: object) => play(cascade, mine, [look("A"), change("A", changes)]).map(({ rung }) => rung);
    expect(rungs({ guest: "Cy" })).toEqual(["R1", "R4"]);
    expect(rungs({ nights: 2 })).toEqual(["R1", "R7"]);
  });

  it("is a miss where chance explains it", () => {
    // The example and two more: seven of ten had nights, 1 in 120.
    expect(answersTo([look("A")], [change("A", { guest: "Cy" })], 2)).toEqual(["R7"]);
  });

  it("is not granted to what the own tape looked for in vain, though the error names it", () => {
    expect(answersTo([missing("E1")], [missing("E1"), change("E1", { guest: "Cy" })])).toEqual(["R1 error", "R7"]);
  });
});

describe("a write that was never refused", () => {
  const at = (id: string, state: string): Step => ({ ...look(id), result: { booking_id: id, state } });
  /** What a change of A is answered where bookings in these states were changed, and A is in `state`. */
  const changed = (states: readonly string[], state: string) => {
    const others = states.map((other, index) =>
      told(`t${index}`, [at(`Y${index}`, other), change(`Y${index}`, { guest: "Bo" })], index * 1e6),
    );
    const mine = told("mine", [at("A", state)], 3e8);
    return play(cascadeFor([...others, mine], { configs }), mine, [at("A", state), change("A", { guest: "Bo" })])[1];
  };

  it("is granted to what is as it was before, and no more than drawn where something known is otherwise than ever", () => {
    const booked = ["booked", "booked", "booked"];
    expect(changed(booked, "booked")).toMatchObject({ rung: "R4", isError: false, confidence: 0.85 });
    expect(changed(booked, "checked_in")).toMatchObject({ rung: "R5", isError: false, confidence: 0.6 });
    expect(changed(["booked", "booked", "checked_in"], "checked_in")).toMatchObject({ rung: "R4", confidence: 0.85 });
  });
});

describe("a write that says back what it was given", () => {
  /** What is answered to `call` of mine, whose tape has looked at A; all other tapes are behind the wall. */
  const answered = (others: readonly Step[], call: Step) => {
    const tapes = others.map((step, index) =>
      told(`t${index}`, [look(String(step.args && (step.args as { booking_id: string }).booking_id)), step], index * 1e6),
    );
    const mine = told("mine", [look("A")], 3e8);
    const cascade = cascadeFor([...tapes, mine], { configs, heldOut: tapes.map(({ id }) => id) });
    const { rung, result, madeFrom } = play(cascade, mine, [look("A"), call])[1] ?? {};
    return rung === "R7" ? rung : { rung, result, madeFrom };
  };
  const renamed = (count: number): Step[] => times(count, (index) => change(`Y${index}`, { guest: `name ${index}` }));

  it("is answered by the call's own words where two conversations show so, and by nothing of theirs", () => {
    const asked = change("A", { guest: "Cy" });
    expect(answered(renamed(3), asked)).toEqual({ rung: "R4", result: '{"booking_id":"A","guest":"Cy"}', madeFrom: [] });
  });

  it("is none with arguments that nobody gave, or where one answer says more, or something else", () => {
    expect(answered(renamed(3), change("A", { nights: 2 }))).toBe("R7");
    const more: Step = { ...change("Z", { guest: "Di" }), result: { booking_id: "Z", guest: "Di", at: "desk 4" } };
    const other: Step = { ...change("Z", { guest: "di" }), result: { booking_id: "Z", guest: "Di" } };
    for (const odd of [more, other]) expect(answered([...renamed(3), odd], change("A", { guest: "Cy" }))).toBe("R7");
  });
});

describe("what a write makes", () => {
  const opened = (id: string, title: string, priority = 3): Step => ({
    tool: "open_ticket",
    args: { title },
    result: { ticket_id: id, title, priority, labels: [] },
  });
  const seen = (id: string, title: string): Step => ({
    tool: "get_ticket",
    args: { ticket_id: id },
    result: { ticket_id: id, title, priority: 3, labels: [] },
  });

  it("has the recorded time: no other is drawn", () => {
    const at = "2026-11-22T18:03:55Z";
    const timed = (id: string, title: string): Step => {
      const step = opened(id, title);
      return { ...step, result: { ...(step.result as object), at } };
    };
    const open_ticket = toolConfig({ class: "write", argumentRoles: { title: "filter" }, volatileResultPaths: ["ticket_id", "at"] });
    const tapes = times(4, (index) => told(`t${index}`, [timed(`T${9_000 + index}`, `title ${index}`)], index * 1e6));
    const mine = told("mine", [timed("T8000", "mine")], 1e8);
    const cascade = cascadeFor([...tapes, mine], { configs: { ...configs, open_ticket } });
    const [answer] = play(cascade, mine, [opened("T1", "another")]);
    expect(JSON.parse(answer?.result ?? "{}")).toMatchObject({ title: "another", at });
  });

  /** The answer to a ticket of mine where one tape has opened one, and others behind the wall `priorities`. */
  const openedBeside = (priorities: readonly number[]) => {
    const others = priorities.map((priority, index) =>
      told(`t${index}`, [opened(`T${9_000 + index}`, `title ${index}`, priority)], index * 1e6),
    );
    const mine = told("mine", [opened("T8000", "mine")], 1e8);
    const cascade = cascadeFor([...others, mine], { configs, heldOut: others.map(({ id }) => id) });
    return play(cascade, mine, [opened("", "new")])[0];
  };

  it("is known where tapes of either split say the same, five with a count or an empty list", () => {
    expect(openedBeside([3, 3, 3])?.rung).toBe("R5");
    expect(openedBeside([3, 3, 3, 3])).toMatchObject({ rung: "R4", madeFrom: ["mine@1"] });
    expect(openedBeside([3, 3, 3, 3, 4])?.rung).toBe("R5");
  });

  it("is not known where one conversation says the same again and again", () => {
    const other = told(
      "other",
      times(5, (index) => opened(`T${9_000 + index}`, `title ${index}`)),
      0,
    );
    const mine = told("mine", [opened("T8000", "mine")], 1e8);
    expect(play(cascadeFor([other, mine], { configs, heldOut: ["other"] }), mine, [opened("", "new")])[0]?.rung).toBe("R5");
  });

  it("gets an id that is hardly anybody's: longer, where many of its length are known", () => {
    const idsOf = (count: number): string[] => {
      const all = times(count, (index) => told(`t${index}`, [opened(`T${10 + index}`, "title")], index * 1e6));
      const mine = told("mine", [opened("T80", "mine")], 1e9);
      return times(5, (index) => {
        const [answer] = play(cascadeFor([...all, mine], { configs }), mine, [opened("", `new ${index}`)], [index]);
        return (JSON.parse(answer?.result ?? "{}") as { ticket_id: string }).ticket_id;
      });
    };
    // One of a hundred is no more than the share that is borne, two are.
    for (const id of idsOf(0)) expect(id).toMatch(/^T\d\d$/);
    for (const id of idsOf(1)) expect(id).toMatch(/^T\d\d\d$/);
  });

  it("is read as it was made, whatever had that id before", () => {
    const before = told("before", [seen("T8000", "old")], 0);
    const mine = told("mine", [opened("T8000", "mine")], 1e8);
    const answers = play(cascadeFor([before, mine], { configs }), mine, [opened("T8000", "mine"), seen("T8000", "")]);
    expect(answers.map(({ rung, result }) => [rung, result])).toEqual([
      ["R1", JSON.stringify({ ticket_id: "T8000", title: "mine", priority: 3, labels: [] })],
      ["R4", JSON.stringify({ ticket_id: "T8000", title: "mine", priority: 3, labels: [] })],
    ]);
  });
});

describe("the form of what a write makes", () => {
  const opened = (id: string | number, title: string): Step => ({
    tool: "open_ticket",
    args: { title },
    result: { ticket_id: id, title },
  });
  /** Two answers to an agent that opens a ticket and looks at it, where tapes hold `known` ids and get_ticket takes ids like `taken`. */
  const openAndLook = (known: readonly (string | number)[], taken: Record<string, unknown>) => {
    const own = [...tools.slice(0, 2), define("get_ticket", { ticket_id: taken }), ...tools.slice(3)];
    const all = known.map((id, index) => conversation(`t${index}`, [opened(id, "title")], { tools: own, startMs: index * 1e6 }));
    const mine = conversation("mine", [opened(known[0] ?? "", "mine")], { tools: own, startMs: 1e9 });
    const cascade = cascadeFor([...all, mine], { configs });
    const [made] = play(cascade, mine, [opened("", "another")]);
    const { ticket_id: id } = JSON.parse(made?.result ?? "{}") as { ticket_id: string | number };
    const look = { tool: "get_ticket", args: { ticket_id: id } };
    return { id, rung: made?.rung, look: play(cascade, mine, [opened("", "another"), look])[1]?.rung };
  };
  const tens = times(30, (index) => `T${10 + index}`);

  it("is what the tools take that it may be handed to, though it may then be somebody's", () => {
    for (const taken of [
      { type: "string", maxLength: 3 },
      { type: "string", pattern: "^T\\d{2}$" },
      { type: "string", pattern: "^(T|U)\\d+$" },
    ]) {
      const { id, rung, look } = openAndLook(tens, taken);
      expect(id).toMatch(/^T\d\d$/);
      expect(tens).not.toContain(id);
      expect(rung).toBe("R5");
      expect(look).not.toBe("agent_error");
    }
    // Numbers have limits, too.
    expect(openAndLook([...times(5, (index) => 10 + index)], { type: "integer", maximum: 99 }).id).toBeLessThan(100);
  });

  it("is of any length where nothing says otherwise, or what is said is not said of such ids", () => {
    for (const taken of [{ type: "string" }, { type: "string", pattern: "^T\\d+$" }, { type: "string", maxLength: 2 }]) {
      const { id, rung } = openAndLook(tens, taken);
      expect(id).toMatch(/^T\d\d\d$/);
      expect(rung).toBe("R4");
    }
  });

  it("keeps the length that all known ids were given by zeros, as a counter does not", () => {
    const padded = times(9, (index) => `T0${1 + index}`);
    expect(openAndLook(padded, text)).toMatchObject({ id: expect.stringMatching(/^T\d\d$/) as string, rung: "R5" });
    expect(openAndLook([...padded, "T100"], text)).toMatchObject({ id: expect.stringMatching(/^T\d\d\d$/) as string });
  });
});
