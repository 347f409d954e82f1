import { isAbsolute, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { nightshiftError } from "../../errors.ts";
import type { ToolConfig } from "../../trajectory/tool-profile.ts";

/** What a pure tool answers, by its canonical arguments: text, or what becomes its JSON. Throws for arguments that the tool refuses. */
export type ToolFunction = (args: unknown) => unknown;

/** By tool name. */
export type ToolFunctions = ReadonlyMap<string, ToolFunction>;

/**
 * Imports the implementations that the configuration names for pure tools (`tools.<name>.implementation`, a module with a default export).
 * @throws NightshiftError `tool_implementation_invalid`
 */
export async function loadToolFunctions(configs: Readonly<Record<string, ToolConfig>>): Promise<ToolFunctions> {
  const functions = new Map<string, ToolFunction>();
  for (const [tool, { class: cls, implementation }] of Object.entries(configs)) {
    if (implementation === undefined) continue;
    const invalid = (problem: string, cause?: unknown) =>
      nightshiftError("tool_implementation_invalid", { tool, module: implementation, problem }, { cause });
    if (cls !== "pure") throw invalid(`only a pure tool has one, and its class is ${cls}`);
    const file = isAbsolute(implementation) ? implementation : resolve(implementation);
    const exported = await import(pathToFileURL(file).href).catch((cause: unknown) => {
      throw invalid(`it cannot be imported: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
    });
    const implement = (exported as Record<string, unknown>)["default"];
    if (typeof implement !== "function") throw invalid("its default export is no function");
    functions.set(tool, implement as ToolFunction);
  }
  return functions;
}

/** The function's answer as a tool's text. What it throws is the tool's error; null where it gave nothing that can be said. */
export function answerOf(implement: ToolFunction, args: unknown): { result: string; isError: boolean } | null {
  try {
    const answer = implement(structuredClone(args));
    const result = typeof answer === "string" ? answer : JSON.stringify(answer);
    return typeof result === "string" ? { result, isError: false } : null;
  } catch (error) {
    return { result: JSON.stringify({ error: error instanceof Error ? error.message : String(error) }), isError: true };
  }
}
