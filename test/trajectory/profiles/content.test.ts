import { fc, test } from "@fast-check/vitest";
import { Ajv2020 } from "ajv/dist/2020.js";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { withEras } from "../../../src/trajectory/era.ts";
import { learnProfiles } from "../../../src/trajectory/learn-profiles.ts";
import { configSnippet } from "../../../src/trajectory/profiles/config-snippet.ts";
import { inferForm, inferSchema } from "../../../src/trajectory/profiles/result-schema.ts";
import { toolContentOf, type ToolContent } from "../../../src/trajectory/profiles/tool-content.ts";
import { tapeOf } from "../../../src/trajectory/record-tape.ts";
import type { Trajectory } from "../../../src/trajectory/trajectory.ts";
import { factOf, learned, reads, traffic, unsaid, type Call } from "./traffic.ts";

const answers = (results: readonly unknown[], says = reads("get", "id")): Trajectory[] =>
  traffic(results.length, [says], (index) => [{ tool: "get", args: { id: `A${index}` }, result: results[index] }]);

function contentOf(trajectories: readonly Trajectory[]): ToolContent {
  const profiles = learnProfiles({}, trajectories);
  return toolContentOf("get", withEras(trajectories.map((one) => tapeOf(one, { profiles, split: "train" }))));
}

describe("errors", () => {
  it.each([
    { what: "the default path", result: { error: "order not found" }, by: "recorded", kind: "not_found", counted: true },
    {
      what: "MCP's own flag",
      result: { content: [{ text: "id must be text" }], isError: true },
      by: "recorded",
      kind: "validation",
      counted: true,
    },
    { what: "an HTTP code", result: { status_code: 404, detail: "gone" }, by: "code", kind: "not_found", counted: false },
    { what: "a bad request", result: { statusCode: 422, detail: [] }, by: "code", kind: "validation", counted: false },
    { what: "a flag", result: { success: false, reason: "too late" }, by: "flag", kind: "state", counted: false },
    { what: "text", result: "Error: too late", by: "text", kind: "state", counted: false },
    { what: "a list of none", result: { errors: [], left: 1 }, by: null, kind: null, counted: false },
    { what: "a status that is a word", result: { status: "shipped" }, by: null, kind: null, counted: false },
  ])("by $what", ({ result, by, kind, counted }) => {
    const calls = answers([{ left: 1 }, result]);
    const { errorExamples, errorShapes } = contentOf(calls);
    expect(errorExamples.map((example) => [example.kind, example.shape.by])).toEqual(by === null ? [] : [[kind, by]]);
    expect(errorShapes).toEqual(by === null ? {} : { [by]: 1 });
    expect(learned(calls, "get").errors).toBe(counted ? 1 : 0);
  });

  it("keeps the newest three of a kind, cut", () => {
    const { errorExamples } = contentOf(
      answers(Array.from({ length: 5 }, (_, index) => ({ error: `too late ${index} ${"x".repeat(900)}` }))),
    );
    expect(errorExamples.map(({ result }) => result.slice(0, 20))).toEqual([4, 3, 2].map((index) => `{"error":"too late ${index}`));
    expect(errorExamples.every(({ result }) => result.length === 501)).toBe(true);
  });

  const odd = [...Array.from({ length: 6 }, (_, left) => ({ left })), ...Array.from({ length: 3 }, () => ({ error_message: "no" }))];

  it("finds the error path of a read, and of a write only says it", () => {
    const profile = learned(answers(odd), "get");
    expect(profile).toMatchObject({ errorPath: "error_message", errors: 3 });
    const write = learned(answers(odd, unsaid("get", "id") as ReturnType<typeof reads>), "get");
    expect(write).toMatchObject({ errorPath: "error", errors: 0 });
    expect(factOf(write, "errorPath")).toMatchObject({ value: "error_message", for: 3, used: false });
  });

  it("takes no warning beside a success for an error", () => {
    const warned = odd.map((result) => ({ left: 1, ...result }));
    expect(learned(answers(warned), "get")).toMatchObject({ errorPath: "error", errors: 0 });
  });
});

describe("the schema of answers", () => {
  const ajv = new Ajv2020({ strict: true, ownProperties: true, allowUnionTypes: true });

  it("has types, required fields and closed enums, and accepts what it was made of", () => {
    const seen = Array.from({ length: 40 }, (_, index) => ({
      ...{ id: `A${index}`, state: index % 2 === 0 ? "open" : "closed", price: index / 2, tags: index % 3 === 0 ? [] : ["new"] },
      ...(index % 4 === 0 ? { note: null } : {}),
    }));
    const schema = inferSchema(seen) ?? {};
    expect(schema).toMatchObject({
      type: "object",
      required: ["id", "price", "state", "tags"],
      properties: {
        id: { type: "string" },
        state: { type: "string", enum: ["closed", "open"] },
        price: { type: "number" },
        note: { type: "null" },
        tags: { type: "array", items: { type: "string" } },
      },
    });
    expect((schema["properties"] as Record<string, object>)["id"]).not.toHaveProperty("enum");
    const isValid = ajv.compile(schema);
    expect(seen.every((one) => isValid(one))).toBe(true);
    expect(isValid({ ...seen[0], state: "lost" })).toBe(false);
  });

  it("calls no list closed that was hardly seen", () => {
    expect(inferSchema(Array.from({ length: 20 }, () => ({ state: "open" })))).toMatchObject({ properties: { state: { type: "string" } } });
    expect(JSON.stringify(inferSchema(Array.from({ length: 20 }, () => ({ state: "open" }))))).not.toContain("enum");
  });

  it("holds made-up answers to the recorded form, and quotes none of them", () => {
    const seen = Array.from({ length: 40 }, (_, index) => ({
      id: `A${index}`,
      state: index % 2 === 0 ? "open" : "closed",
      at: [{ n: 1 }],
    }));
    const form = inferForm([...seen, "gone"]);
    expect(form).toEqual({
      type: ["object", "string"],
      properties: {
        at: {
          type: "array",
          items: { type: "object", properties: { n: { type: "integer" } }, required: ["n"], additionalProperties: false },
        },
        id: { type: "string" },
        state: { type: "string" },
      },
      required: ["at", "id", "state"],
      additionalProperties: false,
    });
    const isValid = ajv.compile(form);
    expect([...seen, "gone"].every((one) => isValid(one))).toBe(true);
    expect(isValid({ ...seen[0], state: "lost" })).toBe(true);
    expect(
      [{ ...seen[0], more: 1 }, { id: "A", state: "open" }, { ...seen[0], at: [{ n: 1, m: 2 }] }, null, 7].some((one) => isValid(one)),
    ).toBe(false);
    expect(inferForm([])).toEqual({});
  });

  test.prop([fc.array(fc.jsonValue({ maxDepth: 6 }), { minLength: 1, maxLength: 8 })])(
    "has a form that every recorded answer keeps",
    (answers) => {
      const values = JSON.parse(JSON.stringify(answers)) as unknown[];
      const isValid = ajv.compile(inferForm(values));
      expect(values.every((value) => isValid(value))).toBe(true);
    },
  );

  it.each(["__proto__", "toString", "valueOf"])("has a form that an answer with a field called %s keeps", (name) => {
    const answers = [JSON.parse(`{"${name}":0}`) as unknown, [], {}];
    const isValid = ajv.compile(inferForm(answers));
    expect(answers.map((one) => isValid(one))).toEqual([true, true, true]);
  });

  it("takes names that are data for a map, and a field called __proto__ for a field", () => {
    const map = inferSchema([Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`A${index}`, index]))]);
    expect(map).toMatchObject({ type: "object", additionalProperties: { type: "integer" } });
    expect(JSON.stringify(inferSchema([JSON.parse('{"__proto__":1}')]))).toContain('"__proto__":{"type":"integer"}');
  });

  it("leaves out errors and answers that were cut, and joins those of two versions of a tool", () => {
    const { resultSchema, cut } = contentOf(answers([{ id: "A", left: 1 }, '{"id":"A","le', { error: "no" }, { id: "B", stock: "some" }]));
    expect(cut).toBe(1);
    expect(resultSchema).toMatchObject({ type: "object", required: ["id"] });
    expect(Object.keys(resultSchema?.["properties"] as object)).toEqual(["id", "left", "stock"]);
  });
});

describe("the config to paste", () => {
  it("says what is gone by, and the rest as comments", () => {
    const list = (index: number): Call => ({ tool: "list", args: { customer_id: "C1" }, result: [{ order_id: `A${index}` }] });
    const calls = traffic(8, [reads("get", "order_id"), reads("list", "customer_id")], (index) => [
      list(index),
      { tool: "get", args: { order_id: `A${index}` }, result: { order_id: `A${index}` } },
    ]);
    const snippet = configSnippet(learned(calls, "get"));
    expect(parse(snippet)).toEqual({ get: { class: "read", argumentRoles: { order_id: "key" } } });
    expect(snippet).toMatch(/^# entityPaths: order:\{order_id\} \(8 for, 0 against/m);
  });

  it("keeps a tool's name and a field's from ending a comment", () => {
    const name = "get\n# x: y\nevil";
    const calls = traffic(24, [unsaid(name, "a\nb: c")], (index) => [
      { tool: name, args: { "a\nb: c": `some words ${index}` }, result: { ok: true } },
    ]);
    const snippet = configSnippet(learned(calls, name));
    expect(Object.keys(parse(snippet) as object)).toEqual([name]);
    expect(snippet.split("\n").filter((line) => line.startsWith("b: c"))).toEqual([]);
  });
});
