import { addressOf } from "./people.ts";
import { projects, ticketsEach } from "./ticket-system.ts";
import { call, numbered, said, seek, type TrapScript } from "./traps.ts";
import { parsed, type World, type WorldCall } from "./world.ts";

/** Each trap of the ticket system alone. */
export function ticketTraps(world: World): readonly TrapScript[] {
  const all = numbered("ticket_id", "T", 1, projects * ticketsEach);
  const tickets = all.map((args) => ({ args, answer: parsed(world.clone().call("get_ticket", args)) }));
  const child = tickets.find(
    ({ answer }) => answer["parent"] !== null && tickets.filter((one) => one.answer["parent"] === answer["parent"]).length === 1,
  );
  const parent = { ticket_id: String(child?.answer["parent"]) };
  const open = seek(
    world,
    "get_ticket",
    all,
    (answer) => answer["status"] === "open" && answer["assignee"] === null && answer["parent"] === null,
  );
  const held = seek(world, "get_ticket", all, (answer) => answer["assignee"] !== null);
  const project = { project_id: String(open.answer["project_id"]) };
  const [hello, email, other] = ["Hello", addressOf(1), addressOf(99)];
  const look = call("get_ticket", open.args);
  const set = (args: Readonly<Record<string, string>>, status: string) => call("set_status", { ...args, status });
  const add = call("add_label", { ...open.args, label: "urgent" });
  const remove = call("remove_label", { ...open.args, label: "urgent" });
  const comment = call("comment", { ...open.args, body: "on it" });
  const comments = call("list_comments", open.args);
  const list = call("list_project", project);
  const longList = call("list_project", { ...project, limit: 8 });
  const path = `${project.project_id}/plan.md`;
  const read = call("read_file", { path });
  const write = (expected_version: number) => call("write_file", { path, content: "done", expected_version });
  const move = call("move_file", { from: path, to: `${project.project_id}/old.md` });
  const claim = call("get_next_ticket", { ...project, agent: email });
  const nothing = call("read_file", { path: "P90/none.md" });
  const script = (trap: string, recorded: readonly WorldCall[], attempt: TrapScript["attempt"]): TrapScript => ({
    trap,
    stages: [said(`I am ${email}`, ...recorded)],
    attempt,
  });
  const closeChild = along(world, child?.args ?? {});
  const closeParent = along(world, parent);
  return [
    script("workflow", [set(open.args, "doing")], [set(open.args, "doing"), set(open.args, "doing")]),
    script("coupling", [...closeChild, ...closeParent], closeParent),
    {
      trap: "coupling",
      how: "changed by others",
      stages: [
        said(
          hello,
          ...closeParent,
          { event: (one) => closeChild.forEach((step) => one.call(step.tool, step.args)) },
          call("get_ticket", parent),
        ),
      ],
      attempt: [...closeParent.slice(0, -1), call("get_ticket", parent), ...closeParent.slice(-1)],
    },
    script("hiddenCount", [call("get_ticket", parent), ...closeChild], [...closeChild, call("get_ticket", parent)]),
    script("wording", [comment, comments], [call("comment", { ...open.args, body: "please check" }), comments]),
    script("append", [comment, comments], [comment, comment, comments]),
    script("sets", [add, remove, look], [remove, add, look]),
    script(
      "bulk",
      [look, call("bulk_update", { ...project, add_label: "docs", status: "doing" })],
      [call("bulk_update", { ...project, add_label: "docs", status: "doing" }), look],
    ),
    script("claiming", [list, claim], [claim, list]),
    script("versions", [read, write(1), read], [write(1), write(1)]),
    script("moved", [read, move, write(0), read], [move, read]),
    script("lists", [list, set(open.args, "doing")], [set(open.args, "doing"), list]),
    { ...script("lists", [call("list_files", project), write(1)], [write(1), call("list_files", project)]), how: "of files" },
    {
      trap: "pseudonyms",
      stages: [said(hello, call("get_ticket", held.args)), said(`I am ${other}`, nothing)],
      attempt: [call("get_ticket", held.args)],
    },
    {
      trap: "background",
      stages: [
        said(hello, read),
        said(hello, { event: (one) => void one.call("write_file", { path, content: "theirs", expected_version: 1 }) }),
        said(hello, nothing),
      ],
      attempt: [read],
    },
    { trap: "cutResults", stages: [said(hello, longList), said(hello, nothing)], attempt: [longList] },
  ];
}

/** The ticket's way to `done` from where it is. */
function along(world: World, args: Readonly<Record<string, string>>): readonly WorldCall[] {
  const states = ["open", "doing", "review", "done"];
  const status = String(parsed(world.clone().call("get_ticket", args))["status"]);
  return states.slice(states.indexOf(status) + 1).map((next) => call("set_status", { ...args, status: next }));
}
