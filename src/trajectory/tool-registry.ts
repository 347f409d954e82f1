import type { Kysely } from "kysely";
import { isToolCall, type ToolDefinition } from "../trace/message.ts";
import { insertable } from "../store/rows.ts";
import { indexableText, storableJson } from "../store/storable.ts";
import type { Tables } from "../store/tables.ts";
import type { Draft } from "./assemble.ts";
import { schemaHashOf } from "./record-tape.ts";

/** The newest known definition of each tool of an agent. */
export type ToolRegistry = ReadonlyMap<string, ToolDefinition>;

/** What the agents of a tenant are known to be able to call; learned from any of their spans that carried schemas. */
export async function loadToolRegistries(
  db: Kysely<Tables>,
  tenant: string,
  agents: readonly string[],
): Promise<Map<string, Map<string, ToolDefinition>>> {
  const registries = new Map(agents.map((agent) => [agent, new Map<string, ToolDefinition>()]));
  if (agents.length === 0) return registries;
  const rows = await db
    .selectFrom("tool_schemas")
    .select(["agent", "tool", "definition"])
    .where("tenant", "=", tenant)
    .where("agent", "in", agents)
    .orderBy("last_seen_ms")
    .orderBy("schema_hash")
    .execute();
  for (const { agent, tool, definition } of rows) registries.get(agent)?.set(tool, definition as unknown as ToolDefinition);
  return registries;
}

/** Adds the definitions with schemas that these trajectories carry. The newest sighting of each counts. */
export async function learnToolSchemas(trx: Kysely<Tables>, drafts: readonly Draft[]): Promise<void> {
  const rows = new Map<
    string,
    { tenant: string; agent: string; tool: string; schema_hash: string; definition: string; last_seen_ms: number }
  >();
  for (const { trajectory } of drafts.toSorted((a, b) => a.trajectory.endedAtMs - b.trajectory.endedAtMs)) {
    for (const tool of trajectory.tools ?? []) {
      if (tool.parameters === undefined) continue;
      const { tenant, agent, endedAtMs } = trajectory;
      const schema_hash = schemaHashOf(tool);
      const name = indexableText(tool.name);
      rows.set(JSON.stringify([tenant, agent, name, schema_hash]), {
        tenant,
        agent,
        tool: name,
        schema_hash,
        definition: storableJson(tool),
        last_seen_ms: endedAtMs,
      });
    }
  }
  // Ordered, so that two sweeps never wait for each other in a circle.
  const ordered = [...rows].toSorted(([one], [other]) => (one < other ? -1 : 1)).map(([, row]) => row);
  for (const chunk of insertable(ordered)) {
    await trx
      .insertInto("tool_schemas")
      .values(chunk)
      .onConflict((conflict) =>
        conflict
          .columns(["tenant", "agent", "tool", "schema_hash"])
          .doUpdateSet((eb) => ({ definition: eb.ref("excluded.definition"), last_seen_ms: eb.ref("excluded.last_seen_ms") }))
          .whereRef("tool_schemas.last_seen_ms", "<", "excluded.last_seen_ms"),
      )
      .execute();
  }
}

/**
 * Fills in what the SDK left out. Names without schemas get theirs; no list at all becomes the whole registry, if that explains every call. What the gateway
 * recorded is complete: an absent list there means that the agent offered no tools.
 */
export function withKnownTools(draft: Draft, registry: ToolRegistry): Draft {
  const { trajectory, evidence } = draft;
  if (trajectory.tools !== null) {
    const tools = trajectory.tools.map((tool) => (tool.parameters === undefined ? { ...registry.get(tool.name), ...tool } : tool));
    return { ...draft, trajectory: { ...trajectory, tools } };
  }
  const called = trajectory.messages.flatMap((message) => message.parts.filter(isToolCall).map((part) => part.name));
  if (evidence.fromGateway || called.length === 0 || !called.every((name) => registry.has(name))) return draft;
  return { ...draft, trajectory: { ...trajectory, tools: [...registry.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1)) } };
}
