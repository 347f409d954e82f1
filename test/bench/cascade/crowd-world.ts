import type { Random } from "../../../deploy/quickstart/random.ts";
import { define, toolConfig, type World, type WorldKind } from "../../worlds/world.ts";

/** Every conversation asks the same question about everything: thousands of tapes hold that one call, each in a state of its own. */
export const crowdWorld: WorldKind = {
  name: "crowd",
  traps: {},
  writes: new Set(["close_ticket"]),
  clocks: {},
  newIds: {},
  longestResult: 10_000,
  extra: () => ({ tool: "count_open", args: {} }),
  tools: [define("count_open", {}), define("close_ticket", { ticket_id: { type: "string" } })],
  toolConfigs: {
    count_open: toolConfig({ class: "read" }),
    close_ticket: toolConfig({ class: "write", argumentRoles: { ticket_id: "key" }, entityPaths: ["ticket:{ticket_id}"] }),
  },
  create: () => createDesk(new Set(), { calls: 0, writes: 0 }),
  task(random: Random) {
    const ticketId = `T${random.integer(10_000, 99_999)}`;
    return { user: ticketId, kind: "close", message: `please close ${ticketId}`, ids: { ticketId } };
  },
  *policy({ ids }, random) {
    const count = { tool: "count_open", args: {} };
    const close = { tool: "close_ticket", args: { ticket_id: ids["ticketId"] } };
    yield [count];
    if (random.chance(0.8)) yield [close];
    if (random.chance(0.5)) yield [count];
    if (random.chance(0.1)) yield [close];
    return "Done.";
  },
};

function createDesk(closed: Set<string>, counters: { calls: number; writes: number }): World {
  return {
    call(tool, args) {
      counters.calls += 1;
      if (tool === "count_open") return JSON.stringify({ open: 100_000 - closed.size });
      const { ticket_id: ticketId } = args as { ticket_id: string };
      if (closed.has(ticketId)) return JSON.stringify({ error: "already closed", ticket_id: ticketId });
      counters.writes += 1;
      closed.add(ticketId);
      return JSON.stringify({ ticket_id: ticketId, state: "closed" });
    },
    background: () => undefined,
    release: () => undefined,
    fingerprint: () => String(closed.size),
    taken: (id) => closed.has(id),
    // A desk of thousands must not be copied for every conversation: the bench asks no world anything.
    clone: () => createDesk(closed, counters),
    counters: () => ({ ...counters }),
  };
}
