import { describe, expect, it } from "vitest";
import { learnProfiles } from "../../src/trajectory/learn-profiles.ts";
import { mayWrite, profileOf } from "../../src/trajectory/tool-profile.ts";
import type { Trajectory } from "../../src/trajectory/trajectory.ts";
import { conversation, lookup, notFound, policyOf, shopConfigs, type Step } from "../rollout/build.ts";
import { toolConfig } from "../worlds/world.ts";

const touch = (id: string): Step => ({ tool: "touch", args: { order_id: id }, result: { order_id: id, ok: true } });
const configs = { ...shopConfigs, touch: toolConfig({ class: "read", entityPaths: ["order:{order_id}"] }) };

describe("learnProfiles", () => {
  it("takes classes from config, counts the rest, and treats the unknown as a write", () => {
    const one = conversation("t", [lookup("A1"), notFound("Z9"), { tool: "mystery", args: {}, result: "ok" }]);
    const profiles = learnProfiles(shopConfigs, [one]);
    expect(profiles.get("lookup_order")).toMatchObject({
      cls: "read",
      evidence: "config",
      scope: "entities",
      calls: 2,
      errors: 1,
      latencyMs: { p50: 10, p95: 10, samples: 2 },
    });
    expect(profiles.get("mystery")).toMatchObject({ cls: "unknown", evidence: "none", scope: "everything", calls: 1, errors: 0 });
    expect(mayWrite(profileOf(profiles, "mystery"))).toBe(true);
    expect(mayWrite(profileOf(profiles, "__proto__"))).toBe(true);
  });

  it("believes no read with filters or without entities to depend on one entity", () => {
    const profiles = learnProfiles(
      {
        search: toolConfig({ class: "read", argumentRoles: { max: "filter" }, entityPaths: ["shop:{shop}"] }),
        list: toolConfig({ class: "read" }),
      },
      [],
    );
    expect([...profiles.values()].map(({ scope }) => scope)).toEqual(["everything", "everything"]);
  });

  it("demotes a read around which other answers change to a write, and no other", () => {
    const hidden = conversation("t", [
      lookup("A1", "processing"),
      touch("A1"),
      lookup("A1", "shipped"),
      policyOf("lamp"),
      lookup("A1", "shipped"),
    ]);
    const profiles = learnProfiles(configs, [hidden]);
    expect(profiles.get("touch")).toMatchObject({ cls: "write", evidence: "demoted" });
    expect(profiles.get("lookup_order")).toMatchObject({ cls: "read", evidence: "config" });
    expect(profiles.get("refund_policy")?.cls).toBe("constant");
  });

  it("blames the hidden write, not the reads between its repetitions", () => {
    const again = { ...touch("A1"), result: { error: "done before", order_id: "A1" } };
    const hidden = conversation("t", [lookup("A1", "processing"), touch("A1"), lookup("A1", "shipped"), again, lookup("A1", "shipped")]);
    const classes = [...learnProfiles(configs, [hidden, { ...hidden, id: "u" }]).values()].map(({ tool, cls }) => [tool, cls]);
    expect(classes).toContainEqual(["touch", "write"]);
    expect(classes).toContainEqual(["lookup_order", "read"]);
  });

  it("does not blame a tool for a world that changes by itself as often", () => {
    const restless = conversation("t", [lookup("A1", "1"), lookup("A1", "2"), lookup("A1", "3"), touch("A1"), lookup("A1", "4")]);
    expect(learnProfiles(configs, [restless]).get("touch")?.cls).toBe("read");
  });

  it("does not blame a tool for another conversation's write", () => {
    const mine = conversation("mine", [lookup("A1"), touch("A1"), lookup("A1", "delivered", true)], { startMs: 0 });
    const other = conversation("other", [{ tool: "issue_refund", args: { order_id: "A1" }, result: { order_id: "A1", refunded: true } }], {
      startMs: 1_500,
    });
    expect(learnProfiles(configs, [mine, other]).get("touch")?.cls).toBe("read");
    expect(learnProfiles(configs, [mine]).get("touch")?.cls).toBe("write");
  });

  it("widens a read whose answer a write to another entity changed, in two conversations and not in a few of many", () => {
    const room = (id: string, hotelFree: number): Step => ({ tool: "get_room", args: { id }, result: { id, hotel_free: hotelFree } });
    const book = (id: string): Step => ({ tool: "book", args: { id }, result: { id, booked: true } });
    const declared = {
      get_room: toolConfig({ class: "read", entityPaths: ["room:{id}"] }),
      book: toolConfig({ class: "write", entityPaths: ["room:{id}"] }),
    };
    const told = (id: string, after: number): Trajectory => conversation(id, [room(id, 3), book(`${id} too`), room(id, after)]);
    const scopeOf = (...all: readonly Trajectory[]) => learnProfiles(declared, all).get("get_room")?.scope;
    const apart = (count: number): Trajectory[] => Array.from({ length: count }, (_, index) => told(`u${index}`, 3));
    expect(scopeOf(...apart(1))).toBe("entities");
    expect(scopeOf(told("t", 2))).toBe("entities");
    expect(scopeOf(told("t", 2), told("s", 2))).toBe("everything");
    expect(scopeOf(told("t", 2), told("s", 2), ...apart(37))).toBe("everything");
    // Two of forty are no more than one in twenty.
    expect(scopeOf(told("t", 2), told("s", 2), ...apart(38))).toBe("entities");
  });

  it("does not depend on the order of the trajectories", () => {
    const many = [
      conversation("a", [lookup("A1", "x"), touch("A1"), lookup("A1", "y")]),
      conversation("b", [lookup("B1")]),
      conversation("c", [touch("B1")]),
    ];
    expect(learnProfiles(configs, [...many].reverse())).toEqual(learnProfiles(configs, many));
  });
});
