import { isAbsolute, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { nightshiftError } from "../errors.ts";
import type { JudgedMember } from "./attempts-text.ts";

/** What a module for scripted judges exports. Everything is deterministic; members are distinct and unmasked. */
export interface ScriptedModule {
  name: string;
  /** One score in [0, 1] per member, in order. */
  scoreGroup: (members: readonly JudgedMember[]) => readonly (number | null)[];
  explainGroup?: ((members: readonly JudgedMember[]) => readonly (string | null)[]) | undefined;
  /** 1: `first` is better, 0: `second` is, ½: neither. */
  comparePair: (first: JudgedMember, second: JudgedMember) => 0 | 0.5 | 1;
  judgeRubric: string;
  pairRubric: string;
}

/**
 * Imports a module of scripted judges. `file` is relative to the working directory.
 * @throws NightshiftError `judge_module_invalid`
 */
export async function loadScriptedModule(file: string): Promise<ScriptedModule> {
  const invalid = (problem: string, cause?: unknown) => nightshiftError("judge_module_invalid", { module: file, problem }, { cause });
  let exported: Record<string, unknown>;
  try {
    exported = (await import(pathToFileURL(isAbsolute(file) ? file : resolve(file)).href)) as Record<string, unknown>;
  } catch (cause) {
    throw invalid(`it cannot be imported: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
  }
  for (const name of ["scoreGroup", "comparePair"]) {
    if (typeof exported[name] !== "function") throw invalid(`it exports no function ${name}`);
  }
  const text = (name: string) => (typeof exported[name] === "string" ? exported[name] : "scripted");
  return {
    name: file,
    scoreGroup: exported["scoreGroup"] as ScriptedModule["scoreGroup"],
    comparePair: exported["comparePair"] as ScriptedModule["comparePair"],
    explainGroup: typeof exported["explainGroup"] === "function" ? (exported["explainGroup"] as ScriptedModule["explainGroup"]) : undefined,
    judgeRubric: text("judgeRubric"),
    pairRubric: text("pairRubric"),
  };
}
