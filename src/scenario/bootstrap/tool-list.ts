import { canonicalJson } from "../../trajectory/canonical-arguments.ts";
import type { Scenario } from "../scenario.ts";

export type TaskTool = Scenario["start"]["tools"][number];

/** A tool as a server lists it. */
export interface ListedTool {
  name: string;
  description?: string | undefined;
  inputSchema: unknown;
}

const MAX_TOOLS = 128;
const MAX_LIST_CHARS = 262_144;
/** What chat endpoints take as a function's name; MCP allows more. */
const NAME = /^[A-Za-z0-9_.-]{1,64}$/;

/**
 * The tools that the agent gets, in the server's order, as an agent's framework would hand them on. `wanted` limits them, `without` is the tool that sets the
 * sandbox back. Nothing is shortened here, because the agent is trained on what it will see. Pure.
 */
export function toolsOf(
  listed: readonly ListedTool[],
  { wanted, without }: { wanted?: readonly string[] | undefined; without?: string | undefined },
): { ok: true; tools: readonly TaskTool[] } | { ok: false; problem: string } {
  const names = listed.map(({ name }) => name);
  const missing = [...(wanted ?? []), ...(without === undefined ? [] : [without])].find((name) => !names.includes(name));
  if (missing !== undefined) return { ok: false, problem: `it lists no tool ${missing}` };
  const kept = listed.filter(({ name }) => name !== without && (wanted === undefined || wanted.includes(name)));
  const problem = problemOf(kept);
  if (problem !== null) return { ok: false, problem };
  const tools = kept.map(({ name, description, inputSchema }) => ({
    name,
    ...(description === undefined ? {} : { description }),
    parameters: inputSchema as Record<string, unknown>,
  }));
  return { ok: true, tools };
}

function problemOf(tools: readonly ListedTool[]): string | null {
  if (tools.length === 0) return "it lists none";
  if (tools.length > MAX_TOOLS) return `it lists ${tools.length}, at most ${MAX_TOOLS} are taken`;
  const characters = canonicalJson(tools).length;
  if (characters > MAX_LIST_CHARS) return `their list has ${characters} characters, at most ${MAX_LIST_CHARS} are taken`;
  const badName = tools.find(({ name }) => !NAME.test(name));
  if (badName !== undefined) return `${JSON.stringify(badName.name.slice(0, 100))} is no function's name`;
  if (new Set(tools.map(({ name }) => name)).size < tools.length) return "it lists one name twice";
  const noObject = tools.find(({ inputSchema }) => !isObject(inputSchema) || inputSchema["type"] !== "object");
  return noObject === undefined ? null : `the arguments of ${noObject.name} have no schema of an object`;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}
