import { describe, expect, it } from "vitest";
import { cascadeFor, conversation, lookup, play, refund, shopConfigs, type Step } from "../rollout/build.ts";
import { define, toolConfig } from "./world.ts";

const DAY = 86_400_000;
const text = { type: "string" };

// What the worlds found wrong once, as short as it goes.
describe("mended defects of replay", () => {
  // Without a write the state's hash and the entity's version are both empty: once, the two counters of a call were one, counted twice.
  it("R1 gives the third asking the third answer", () => {
    const tape = conversation("t", [
      lookup("A1", "processing"),
      lookup("A1", "packed"),
      lookup("A1", "shipped"),
      lookup("A1", "delivered"),
    ]);
    const answers = play(cascadeFor([tape]), tape, [lookup("A1"), lookup("A1"), lookup("A1"), lookup("A1")]);
    expect(answers.map(({ result }) => JSON.parse(result ?? "{}").status)).toEqual(["processing", "packed", "shipped", "delivered"]);
  });

  // The model of an answer is rendered with this call's arguments; those that it alone had once stayed as they were.
  it("R4 does not answer with an argument that the call does not have", () => {
    const because = (id: string): Step => ({
      tool: "issue_refund",
      args: { order_id: id, reason: "arrived broken" },
      result: { order_id: id, refunded: true, reason: "arrived broken" },
    });
    const others = ["B1", "B2", "B3"].map((id, index) => conversation(id, [lookup(id), because(id)], { startMs: index * DAY }));
    const mine = conversation("mine", [lookup("A1")], { startMs: 9 * DAY });
    const [answer] = play(cascadeFor([mine, ...others]), mine, [refund("A1")]);
    expect(answer?.result ?? "").not.toContain("arrived broken");
  });

  const tools = [
    define("open_ticket", { project: text }),
    define("get_ticket", { ticket: text }),
    define("add_label", { ticket: text, label: text }),
  ];
  const configs = {
    ...shopConfigs,
    open_ticket: toolConfig({ class: "write", argumentRoles: { project: "key" }, volatileResultPaths: ["ticket"] }),
    get_ticket: toolConfig({ class: "read", argumentRoles: { ticket: "key" }, entityPaths: ["ticket:{ticket}"] }),
    add_label: toolConfig({ class: "write", argumentRoles: { ticket: "key" }, entityPaths: ["ticket:{ticket}"] }),
  };
  const get = (ticket: string): Step => ({ tool: "get_ticket", args: { ticket }, result: { ticket, labels: ["bug"] } });
  const open = (project: string, ticket: string): Step => ({ tool: "open_ticket", args: { project }, result: { ticket, project } });

  // Ids were once drawn without a look at those that the tapes know.
  it("R4 gives no id to a new thing that another thing has", () => {
    const known = Array.from({ length: 9 }, (_, index) => `T${index + 1}`);
    const seen = conversation("seen", known.map(get), { tools, startMs: 0 });
    const made = ["P1", "P2", "P3"].map((project, index) =>
      conversation(project, [open(project, `T${index + 4}`)], { tools, startMs: (1 + index) * DAY }),
    );
    const mine = conversation("mine", [get("T1")], { tools, startMs: 9 * DAY, says: "open one in P7 please, P7" });
    const [answer] = play(cascadeFor([mine, seen, ...made], { configs }), mine, [{ tool: "open_ticket", args: { project: "P7" } }]);
    expect(answer?.rung).toMatch(/R[45]/);
    expect(known).not.toContain(JSON.parse(answer?.result ?? "{}").ticket);
  });

  // That a write succeeds may be certain while what it answers is not: lists of the nearest example were once served as this entity's.
  it("R4 does not answer with another entity's list", () => {
    const label = (ticket: string, labels: readonly string[]): Step => ({
      tool: "add_label",
      args: { ticket, label: "urgent" },
      result: { ticket, labels },
    });
    const others = ["T7", "T8", "T9"].map((ticket, index) =>
      conversation(ticket, [label(ticket, ["billing", "urgent"])], { tools, startMs: index * DAY }),
    );
    const mine = conversation("mine", [get("T1")], { tools, startMs: 9 * DAY });
    const [answer] = play(cascadeFor([mine, ...others], { configs }), mine, [
      { tool: "add_label", args: { ticket: "T1", label: "urgent" } },
    ]);
    expect(answer?.rung === "R4" ? answer.result : "").not.toContain("billing");
  });
});
