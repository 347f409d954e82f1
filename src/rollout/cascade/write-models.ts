import { endsOf, type EndsRecord } from "./ends.ts";
import type { PreparedCall } from "./prepare.ts";
import type { ReplayStart } from "./situation.ts";
import type { TapePool } from "./tape-pool.ts";
import type { ToolSchema, ToolSchemas } from "./tool-schemas.ts";
import { learnWrites, type WriteModel } from "./write-samples.ts";

/** Null for a tool that the scenario does not have. */
export function schemaOf(schemas: ToolSchemas, { tools }: ReplayStart, tool: string): ToolSchema | null {
  const definition = tools.find(({ name }) => name === tool);
  return definition === undefined ? null : schemas.of(definition);
}

/** A write tool's model, as the scenario has the tool. */
export type WriteModels = (start: ReplayStart, call: PreparedCall) => WriteModel;

/** What is learned of write tools: for all scenarios once whose tools let the same looks count. */
export function writeModels(pool: TapePool, looks: EndsRecord, schemas: ToolSchemas): WriteModels {
  const byEnds = new Map<string, (call: PreparedCall) => WriteModel>();
  const byTools = new WeakMap<ReplayStart["tools"], (call: PreparedCall) => WriteModel>();
  return (start, call) => {
    const known = byTools.get(start.tools);
    if (known !== undefined) return known(call);
    const ends = endsOf(pool, looks, (tool) => schemaOf(schemas, start, tool));
    const key = JSON.stringify([...ends]);
    const models = byEnds.get(key) ?? learnedOnce((one): WriteModel => learnWrites(pool, one, ends));
    byEnds.set(key, models);
    byTools.set(start.tools, models);
    return models(call);
  };
}

/** What is learned of a tool, once per schema. */
export function learnedOnce<T>(learn: (call: PreparedCall) => T): (call: PreparedCall) => T {
  const known = new Map<string, T>();
  return (call) => {
    const key = `${call.tool}|${call.schema?.schemaHash}`;
    const learned = known.get(key) ?? learn(call);
    known.set(key, learned);
    return learned;
  };
}
