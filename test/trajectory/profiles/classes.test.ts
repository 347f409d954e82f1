import { describe, expect, it } from "vitest";
import { mayWrite } from "../../../src/trajectory/tool-profile.ts";
import type { Trajectory } from "../../../src/trajectory/trajectory.ts";
import { toolConfig } from "../../worlds/world.ts";
import { factOf, learned, reads, timeOf, traffic, unsaid, type Call } from "./traffic.ts";

const get = (state: string, extra: object = {}): Call => ({ tool: "get", args: { id: "A1" }, result: { id: "A1", state, ...extra } });
const touch: Call = { tool: "touch", args: { id: "A1" }, result: { id: "A1", ok: true } };
const annotated = (annotations: object | undefined) => [{ ...unsaid("get", "id"), ...(annotations === undefined ? {} : { annotations }) }];
const withVerbs = (trajectories: readonly Trajectory[], verbsOf: (index: number) => readonly string[]): Trajectory[] =>
  trajectories.map((one, index) => ({
    ...one,
    toolTimings: one.toolTimings.map((timing) => ({ ...timing, httpMethods: [...verbsOf(index)] })),
  }));

describe("the class of a tool that nobody configured", () => {
  it.each([
    { annotations: undefined, cls: "unknown", evidence: "none" },
    { annotations: { readOnlyHint: true }, cls: "read", evidence: "mcp" },
    { annotations: { readOnlyHint: false }, cls: "write", evidence: "mcp" },
    { annotations: { idempotentHint: true }, cls: "write", evidence: "mcp" },
    { annotations: { destructiveHint: false }, cls: "write", evidence: "mcp" },
  ])("by annotations $annotations is $cls", ({ annotations, cls, evidence }) => {
    expect(
      learned(
        traffic(2, annotated(annotations), () => [get("new")]),
        "get",
      ),
    ).toMatchObject({ cls, evidence });
  });

  it("is no read when two definitions of it disagree", () => {
    const [yes, no] = [true, false].map((readOnlyHint) => traffic(3, annotated({ readOnlyHint }), () => [get("new")]));
    const both = [...(yes ?? []), ...(no ?? []).map((one) => ({ ...one, id: `other ${one.id}` }))];
    const profile = learned(both, "get");
    expect(profile.cls).toBe("write");
    expect(factOf(profile, "class")).toMatchObject({ from: "mcp", for: 3, against: 3 });
  });

  it.each([
    { what: "GET below every call", verbs: () => ["GET"], cls: "read", evidence: "http" },
    { what: "GET and HEAD", verbs: (index: number) => (index === 2 ? ["GET", "HEAD"] : ["HEAD"]), cls: "read", evidence: "http" },
    { what: "a call without a verb", verbs: (index: number) => (index === 2 ? [] : ["GET"]), cls: "unknown", evidence: "none" },
    { what: "POST, which may be a query", verbs: () => ["POST"], cls: "unknown", evidence: "none" },
    { what: "one DELETE", verbs: (index: number) => (index === 2 ? ["DELETE"] : ["GET"]), cls: "write", evidence: "http" },
  ])("by $what is $cls", ({ verbs, cls, evidence }) => {
    expect(
      learned(
        withVerbs(
          traffic(6, annotated(undefined), () => [get("new")]),
          verbs,
        ),
        "get",
      ),
    ).toMatchObject({ cls, evidence });
  });

  it("is not told by four calls, and the annotation comes before the verb, the config before both", () => {
    const few = withVerbs(
      traffic(4, annotated(undefined), () => [get("new")]),
      () => ["GET"],
    );
    expect(learned(few, "get").cls).toBe("unknown");
    const both = withVerbs(
      traffic(6, annotated({ readOnlyHint: true }), () => [get("new")]),
      () => ["DELETE"],
    );
    expect(learned(both, "get")).toMatchObject({ cls: "read", evidence: "mcp" });
    expect(factOf(learned(both, "get"), "class", "write")).toMatchObject({ from: "http", used: false });
    expect(learned(both, "get", { get: { class: "constant" } })).toMatchObject({ cls: "constant", evidence: "config" });
    expect(mayWrite(learned(both, "get", { get: { learn: false } }))).toBe(true);
  });
});

describe("an annotation that lies", () => {
  const lying = [reads("get", "id"), reads("touch", "id")];

  it("is demoted by reads that change around the tool", () => {
    const profile = learned(
      traffic(3, lying, () => [get("new"), touch, get("old")]),
      "touch",
    );
    expect(profile).toMatchObject({ cls: "write", evidence: "demoted" });
    expect(factOf(profile, "class", "write")).toMatchObject({ from: "demoted", for: 3, against: 0 });
    expect(factOf(profile, "class", "read")).toMatchObject({ from: "mcp" });
  });

  it("is found behind a time in every answer", () => {
    const noisy = traffic(12, lying, (index, startMs) =>
      index < 7
        ? [get("new", { at: timeOf(startMs, 0) }), get("new", { at: timeOf(startMs, 1) })]
        : [get("new", { at: timeOf(startMs, 0) }), touch, get("old", { at: timeOf(startMs, 2) })],
    );
    expect(learned(noisy, "touch")).toMatchObject({ cls: "write", evidence: "demoted" });
    expect(learned(noisy, "get")).toMatchObject({ cls: "read", volatileResultPaths: ["at"] });
  });

  it("is found while other conversations write elsewhere all the time", () => {
    const busy = (name: string, id: string, startMs: number, turns: readonly Call[]) =>
      traffic(1, [...lying, unsaid("put", "order_id"), reads("find", "order_id")], () => turns).map((one) => ({
        ...one,
        ...{ id: `${name}${id}`, startedAtMs: startMs },
        toolTimings: one.toolTimings.map((timing, index) => ({ ...timing, startedAtMs: startMs + 1_000 * (index + 1) })),
      }));
    const order = (tool: string, id: string, state: string): Call => ({ tool, args: { order_id: id }, result: { order_id: id, state } });
    const mine = Array.from({ length: 6 }, (_, index) => {
      const id = `A${index}`;
      const about: Call = { tool: "touch", args: { order_id: id }, result: { ok: true } };
      return busy("mine", id, index * 100_000, [order("find", id, "new"), about, order("find", id, "old"), order("get", id, "x")]);
    });
    const configs = { put: toolConfig({ class: "write" as const, entityPaths: ["order:{order_id}"] }) };
    const others = Array.from({ length: 6 }, (_, index) =>
      busy("other", `${index}`, index * 100_000 + 1_500, [order("put", `Z${index}`, "done")]),
    );
    const told = [...mine, ...others].flat().map((one) => ({
      ...one,
      messages: one.messages.map((message) =>
        message.role === "user" ? { role: "user", parts: [{ type: "text" as const, content: "A0 A1 A2 A3 A4 A5" }] } : message,
      ),
    }));
    expect(learned(told, "find", configs).entityPaths).toEqual(["order:{order_id}"]);
    expect(learned(told, "touch", configs)).toMatchObject({ cls: "write", evidence: "demoted" });
  });

  const claiming = [reads("list", "project"), reads("claim", "project"), reads("look", "ticket")];
  const claimConfigs = {
    list: toolConfig({ class: "read" as const, entityPaths: ["project:{project}"] }),
    claim: toolConfig({ class: "read" as const, entityPaths: ["project:{project}"] }),
    look: toolConfig({ class: "read" as const, entityPaths: ["ticket:{ticket}"] }),
  };
  const shown = (tool: "list" | "look", id: string, owner: string | null): Call =>
    tool === "look"
      ? { tool, args: { ticket: id }, result: { ticket: id, owner } }
      : { tool, args: { project: "P" }, result: { tickets: [{ ticket: id, owner }] } };
  const claim = (id: string): Call => ({ tool: "claim", args: { project: "P" }, result: { project: "P", ticket: { ticket: id } } });
  /** A list, a claim or none, a look at what was listed. */
  const claims = (count: number, owner: (id: string) => string | null): Trajectory[] =>
    traffic(count, claiming, (index) => {
      const id = `T${index}`;
      return [shown("list", id, null), ...(index % 2 === 0 ? [claim(id)] : []), shown("look", id, index % 2 === 0 ? owner(id) : null)];
    });

  it("is found by what other tools show before and after it of the thing that it names, though nothing is ever asked twice", () => {
    const profiles = claims(12, () => "me");
    expect(learned(profiles, "claim", claimConfigs)).toMatchObject({ cls: "write", evidence: "demoted" });
    expect(factOf(learned(profiles, "claim", claimConfigs), "class", "write")).toMatchObject({
      ...{ from: "demoted", for: 6, against: 0 },
      note: "what other tools show changed after it: ticket:owner",
    });
    expect(["list", "look"].map((tool) => learned(profiles, tool, claimConfigs).cls)).toEqual(["read", "read"]);
  });

  it.each<[string, Trajectory[]]>([
    ["what others show stays as it was", claims(12, () => null)],
    ["it changed too rarely to be more than chance", claims(5, () => "me")],
    [
      "half of what it names changed, as with a search for what others changed",
      claims(12, (id) => (Number(id.slice(1)) % 4 === 0 ? "me" : null)),
    ],
    [
      "two tools never agree on the field, whoever is called in between",
      traffic(12, claiming, (index) => [
        shown("list", `T${index}`, null),
        ...(index % 2 === 0 ? [claim(`T${index}`)] : []),
        shown("look", `T${index}`, "nobody"),
      ]),
    ],
  ])("is not blamed where %s", (_, trajectories) => {
    expect(learned(trajectories, "claim", claimConfigs).cls).toBe("read");
  });

  it("is still demoted where nothing may be learned", () => {
    const configs = { touch: { class: "read" as const, learn: false } };
    expect(
      learned(
        traffic(3, lying, () => [get("new"), touch, get("old")]),
        "touch",
        configs,
      ).evidence,
    ).toBe("demoted");
  });
});
