import { describe, expect, it } from "vitest";
import { toolConfig } from "../../worlds/world.ts";
import { factOf, learned, reads, timeOf, traffic, unsaid, uuid, type Call } from "./traffic.ts";

const stock = (index: number): Call[] => {
  const item = ["lamp", "rug", "desk", "shelf"][index % 4] as string;
  return [{ tool: "stock", args: { item }, result: { item, left: item.length } }];
};

describe("clocks", () => {
  const asked = (index: number, startMs: number, at: (turn: number) => unknown, left = (turn: number) => 3 + 0 * turn): Call[] =>
    [0, 1].map((turn) => ({
      tool: "stock",
      args: { item: `item${index % 5}`, at: at(turn) },
      result: { left: left(turn) + (index % 5), item: `item${index % 5}`, ...(startMs < 0 ? { never: true } : {}) },
    }));

  it("are the call's own time, where repeats in one world are answered alike", () => {
    const calls = traffic(12, [reads("stock", "item", "at")], (index, startMs) => asked(index, startMs, (turn) => timeOf(startMs, turn)));
    const profile = learned(calls, "stock");
    expect(profile.argumentRoles).toMatchObject({ at: "clock" });
    expect(factOf(profile, "argumentRoles.at")).toMatchObject({ from: "learned", used: true, against: 0 });
    expect(factOf(profile, "argumentRoles.at")?.for).toBeGreaterThanOrEqual(5);
  });

  it.each([
    { what: "a day that things are due on", at: (startMs: number) => (turn: number) => timeOf(startMs + 86_400_000 * 3, turn) },
    { what: "a date without a time", at: (startMs: number) => (turn: number) => timeOf(startMs, turn).slice(0, 10) },
    { what: "time that goes back", at: (startMs: number) => (turn: number) => timeOf(startMs, 1 - turn) },
    { what: "words", at: () => (turn: number) => `now ${turn}` },
  ])("are not $what", ({ at }) => {
    const calls = traffic(12, [reads("stock", "item", "at")], (index, startMs) => asked(index, startMs, at(startMs)));
    expect(learned(calls, "stock").argumentRoles["at"]).not.toBe("clock");
  });

  it("are not left out when a single repeat was answered otherwise, but shown", () => {
    const calls = traffic(12, [reads("stock", "item", "at")], (index, startMs) =>
      asked(index, startMs, (turn) => timeOf(startMs, turn), index === 7 ? (turn) => turn : undefined),
    );
    const profile = learned(calls, "stock");
    expect(profile.argumentRoles["at"]).toBeUndefined();
    expect(factOf(profile, "argumentRoles.at", "clock")).toMatchObject({ used: false });
    expect(factOf(profile, "argumentRoles.at", "clock")?.against).toBeGreaterThan(0);
  });

  it("of what may write are shown and compared", () => {
    const calls = traffic(12, [unsaid("stock", "item", "at")], (index, startMs) => asked(index, startMs, (turn) => timeOf(startMs, turn)));
    const profile = learned(calls, "stock");
    expect(profile.argumentRoles["at"]).toBeUndefined();
    expect(factOf(profile, "argumentRoles.at", "clock")).toMatchObject({ used: false, for: 24 });
  });
});

describe("nonces", () => {
  const asked = (index: number, drawn: (turn: number) => string, tool = "stock"): Call[] =>
    [0, 1].map((turn) => ({
      tool,
      args: { item: `item${index % 5}`, request: drawn(turn) },
      result: { item: `item${index % 5}`, left: index % 5 },
    }));
  const fresh = (index: number) => (turn: number) => uuid(index * 10 + turn);
  const tools = [reads("stock", "item", "request")];

  it("are drawn for every call and change no answer", () => {
    const profile = learned(
      traffic(12, tools, (index) => asked(index, fresh(index))),
      "stock",
    );
    expect(profile.argumentRoles).toMatchObject({ request: "nonce" });
  });

  it("are not what a retry used again", () => {
    const calls = traffic(12, tools, (index) => asked(index, index === 3 ? () => uuid(30) : fresh(index)));
    expect(learned(calls, "stock").argumentRoles["request"]).toBeUndefined();
  });

  it("are not what the user told", () => {
    const calls = traffic(
      12,
      tools,
      (index) => asked(index, fresh(index)),
      (index) => (index === 4 ? `it is ${uuid(40)}` : ""),
    );
    expect(learned(calls, "stock").argumentRoles["request"]).toBeUndefined();
  });

  it("are not what another tool is asked about", () => {
    const calls = traffic(12, [...tools, reads("trace", "request")], (index) => [
      ...asked(index, fresh(index)),
      { tool: "trace", args: { request: uuid(index * 10) }, result: { found: true } },
    ]);
    expect(learned(calls, "stock").argumentRoles["request"]).toBeUndefined();
  });

  it("are not ids of things that happen to be all alike", () => {
    const calls = traffic(30, [reads("parcel", "parcel")], (index) => [
      { tool: "parcel", args: { parcel: uuid(index) }, result: { status: "shipped" } },
    ]);
    expect(learned(calls, "parcel").argumentRoles["parcel"]).toBeUndefined();
  });

  it("of a write stay in its key: a second order is no retry of the first", () => {
    const calls = traffic(24, [unsaid("order", "item", "request")], (index) => asked(index, fresh(index), "order"));
    const profile = learned(calls, "order");
    expect(profile.argumentRoles["request"]).toBeUndefined();
    expect(factOf(profile, "argumentRoles.request", "nonce")).toMatchObject({ used: false });
  });
});

describe("free text", () => {
  const thought = (index: number): string => `thought number ${index} of many`;

  it("of a stateless tool that answers all texts alike is left out", () => {
    const calls = traffic(12, [unsaid("think", "thought")], (index) => [
      { tool: "think", args: { thought: thought(index) }, result: "ok" },
    ]);
    expect(learned(calls, "think", { think: { class: "constant" } }).argumentRoles).toEqual({ thought: "freeText" });
    expect(learned(calls, "think").argumentRoles).toEqual({});
  });

  it.each([
    { what: "its answers differ", result: (index: number) => `ok ${index}`, more: {} },
    { what: "it has another argument", result: () => "ok", more: { depth: 3 } },
  ])("is compared where $what", ({ result, more }) => {
    const calls = traffic(12, [unsaid("think", "thought", "depth")], (index) => [
      { tool: "think", args: { thought: thought(index), ...more }, result: result(index) },
    ]);
    expect(learned(calls, "think", { think: { class: "constant" } }).argumentRoles["thought"]).toBeUndefined();
  });
});

describe("filters and the operator's word", () => {
  it("names values of a short list as a filter, and no status as a key", () => {
    const calls = traffic(20, [reads("list", "status"), reads("get", "id")], (index) => [
      { tool: "list", args: { status: index % 2 === 0 ? "open" : "closed" }, result: { orders: [{ status: "open" }] } },
      { tool: "get", args: { id: `7${index}` }, result: { status: index % 2 === 0 ? "open" : "closed" } },
    ]);
    expect(learned(calls, "list").argumentRoles).toEqual({ status: "filter" });
    expect(learned(calls, "list").entityPaths).toEqual([]);
  });

  it("lets a configured role stand, learns the others, and nothing where learning is off", () => {
    const calls = traffic(12, [reads("stock", "item", "at")], (index, startMs) => [
      ...stock(index),
      { tool: "stock", args: { item: "lamp", at: timeOf(startMs, 1) }, result: { item: "lamp", left: 4 } },
    ]);
    expect(learned(calls, "stock", { stock: { class: "read", argumentRoles: { item: "key" } } }).argumentRoles).toEqual({ item: "key" });
    expect(learned(calls, "stock").argumentRoles).toEqual({ item: "filter" });
    const off = learned(calls, "stock", { stock: { learn: false } });
    expect(off).toMatchObject({ cls: "unknown", evidence: "none", argumentRoles: {}, facts: [] });
    expect(learned(calls, "stock", { stock: toolConfig({ class: "unknown" }) })).toMatchObject({ cls: "unknown", evidence: "config" });
  });
});
