import { createRandom, type Random } from "../../deploy/quickstart/random.ts";
import { addressOf } from "./people.ts";
import { createTable, type Table } from "./table.ts";
import type { Arguments, Rules } from "./world.ts";

/** The rules of the tickets and their files; the traps are listed in ticket-world.ts. */
export const projects = 8;
export const ticketsEach = 6;
export const people = 20;
export const labels = ["bug", "urgent", "docs", "billing"] as const;
const workflow: Readonly<Record<string, readonly string[]>> = {
  open: ["doing"],
  doing: ["review", "open"],
  review: ["done", "doing"],
  done: ["open"],
};

interface Ticket {
  ticket_id: string;
  project_id: string;
  title: string;
  status: string;
  assignee: string | null;
  labels: readonly string[];
  parent: string | null;
}

interface File {
  path: string;
  version: number;
  content: string;
}

export interface Tracker extends Readonly<Record<string, Table<object>>> {
  tickets: Table<Ticket>;
  comments: Table<{ ticket_id: string; bodies: readonly string[] }>;
  files: Table<File>;
}

/** `which`: the projects by number; two trackers of other projects share no ticket. */
export function openTracker(seed: number, which = { first: 0, count: projects }): Tracker {
  const random = createRandom("ticket-world", seed);
  const tracker: Tracker = { tickets: createTable(), comments: createTable(), files: createTable() };
  for (let project = which.first; project < which.first + which.count; project += 1) {
    for (let index = 0; index < ticketsEach; index += 1) {
      const number = project * ticketsEach + index + 1;
      tracker.tickets.set(`T${number}`, {
        ticket_id: `T${number}`,
        project_id: `P${project}`,
        title: `${random.pick(["login", "invoice", "upload", "report"])} ${random.pick(["fails", "is slow", "is missing"])}`,
        status: random.pick(["open", "open", "doing", "review"]),
        assignee: random.chance(0.4) ? addressOf(random.integer(0, people - 1)) : null,
        labels: labels.filter(() => random.chance(0.3)),
        parent: index >= 2 && random.chance(0.6) ? `T${project * ticketsEach + 1 + (index % 2)}` : null,
      });
    }
    for (const name of ["notes.md", "plan.md"]) {
      const path = `P${project}/${name}`;
      tracker.files.set(path, { path, version: 1, content: random.pick(["first draft", "to be written", "x".repeat(80)]) });
    }
  }
  return tracker;
}

export const trackerRules: Omit<Rules<Tracker>, "tools"> = {
  answer,
  /** A colleague takes a ticket up, closes nothing, or writes into a file. */
  background(tracker, random: Random) {
    if (random.chance(0.3)) {
      const file = random.pick(tracker.files.all());
      tracker.files.set(file.path, { ...file, version: file.version + 1, content: `edited ${random.integer(1, 99)}` });
      return;
    }
    const ticket = random.pick(tracker.tickets.all());
    tracker.tickets.set(ticket.ticket_id, { ...ticket, status: random.pick(workflow[ticket.status] ?? []) });
  },
  taken: (tracker, id) => tracker.tickets.get(id) !== undefined,
};

function answer(tracker: Tracker, tool: string, args: Arguments): unknown {
  if (/_file$/.test(tool)) return fileAnswer(tracker, tool, args);
  switch (tool) {
    case "list_files":
      return { project_id: args["project_id"], files: filesOf(tracker, String(args["project_id"])) };
    case "list_project":
    case "search_tickets":
      return listTickets(tracker, args);
    case "get_next_ticket":
      return claimNext(tracker, String(args["project_id"]), String(args["agent"]));
    case "bulk_update":
      return bulkUpdate(tracker, args);
    case "create_ticket":
      return createTicket(tracker, args);
    default: {
      const ticket = tracker.tickets.get(String(args["ticket_id"]));
      if (ticket === undefined) return { error: "no such ticket", ticket_id: args["ticket_id"] };
      return aboutTicket(tracker, tool, ticket, args);
    }
  }
}

function aboutTicket(tracker: Tracker, tool: string, ticket: Ticket, args: Arguments): unknown {
  const { ticket_id } = ticket;
  const bodies = tracker.comments.get(ticket_id)?.bodies ?? [];
  const text = (name: string): string => String(args[name]);
  switch (tool) {
    case "get_ticket":
      return { ...ticket, open_children: openChildren(tracker, ticket_id), comments: bodies.length };
    case "list_comments":
      return { ticket_id, comments: bodies };
    case "comment":
      tracker.comments.set(ticket_id, { ticket_id, bodies: [...bodies, text("body")] });
      return { ticket_id, comment: bodies.length + 1 };
    case "set_status":
      return setStatus(tracker, ticket, text("status"));
    case "assign":
      tracker.tickets.set(ticket_id, { ...ticket, assignee: text("assignee") });
      return { ticket_id, assignee: text("assignee") };
    case "add_label":
    case "remove_label": {
      const rest = ticket.labels.filter((label) => label !== text("label"));
      const changed = tool === "add_label" ? [...rest, text("label")].sort() : rest;
      tracker.tickets.set(ticket_id, { ...ticket, labels: changed });
      return { ticket_id, labels: changed };
    }
    default:
      return link(tracker, ticket, text("parent"));
  }
}

/** A parent stays open while a child is: one ticket's write is refused because of another's state. */
function setStatus(tracker: Tracker, ticket: Ticket, status: string): unknown {
  const { ticket_id } = ticket;
  if (workflow[ticket.status]?.includes(status) !== true) return { error: `${ticket.status} does not go to ${status}`, ticket_id };
  const children = openChildren(tracker, ticket_id);
  if (status === "done" && children > 0) return { error: "children are open", ticket_id, open_children: children };
  tracker.tickets.set(ticket_id, { ...ticket, status });
  return { ticket_id, status };
}

function link(tracker: Tracker, ticket: Ticket, parentId: string): unknown {
  const parent = tracker.tickets.get(parentId);
  if (parent === undefined || parentId === ticket.ticket_id)
    return { error: "no such parent", ticket_id: ticket.ticket_id, parent: parentId };
  if (parent.parent === ticket.ticket_id) return { error: "would be a circle", ticket_id: ticket.ticket_id, parent: parentId };
  tracker.tickets.set(ticket.ticket_id, { ...ticket, parent: parentId });
  return { ticket_id: ticket.ticket_id, parent: parentId };
}

function openChildren(tracker: Tracker, ticketId: string): number {
  return tracker.tickets.all().filter((one) => one.parent === ticketId && one.status !== "done").length;
}

function matching(tracker: Tracker, args: Arguments): readonly Ticket[] {
  const wanted = (name: string, found: string): boolean => args[name] === undefined || args[name] === found;
  const text = String(args["text"] ?? "").toLowerCase();
  return tracker.tickets
    .all()
    .filter((one) => wanted("project_id", one.project_id) && wanted("status", one.status) && one.title.includes(text))
    .filter((one) => args["label"] === undefined || one.labels.includes(String(args["label"])));
}

function listTickets(tracker: Tracker, args: Arguments): unknown {
  const found = matching(tracker, args);
  const offset = Number(args["offset"] ?? 0);
  const shown = found.slice(offset, offset + Number(args["limit"] ?? 4));
  return { tickets: shown.map(({ ticket_id, status, assignee }) => ({ ticket_id, status, assignee })), total: found.length };
}

/** Named like a read: it gives the ticket to whoever asks. */
function claimNext(tracker: Tracker, projectId: string, agent: string): unknown {
  const next = tracker.tickets.all().find((one) => one.project_id === projectId && one.status === "open" && one.assignee === null);
  if (next === undefined) return { project_id: projectId, ticket: null };
  tracker.tickets.set(next.ticket_id, { ...next, status: "doing", assignee: agent });
  return { project_id: projectId, ticket: { ticket_id: next.ticket_id, title: next.title } };
}

/** Names no ticket, answers with counts, and does what it can: some may be refused without an error. */
function bulkUpdate(tracker: Tracker, args: Arguments): unknown {
  const found = matching(tracker, { project_id: args["project_id"], label: args["label"] });
  if (found.length === 0) return { error: "nothing matches", project_id: args["project_id"] };
  const refused = found.filter((one) => {
    if (args["add_label"] !== undefined) aboutTicket(tracker, "add_label", one, { label: args["add_label"] });
    const now = tracker.tickets.get(one.ticket_id) ?? one;
    return args["status"] !== undefined && Object.hasOwn(setStatus(tracker, now, String(args["status"])) as object, "error");
  });
  return { project_id: args["project_id"], updated: found.length - refused.length, refused: refused.length };
}

function createTicket(tracker: Tracker, args: Arguments): unknown {
  let number = 1;
  while (tracker.tickets.get(`T${number}`) !== undefined) number += 1;
  const made: Ticket = {
    ticket_id: `T${number}`,
    project_id: String(args["project_id"]),
    title: String(args["title"]),
    status: "open",
    assignee: null,
    labels: [],
    parent: typeof args["parent"] === "string" ? args["parent"] : null,
  };
  tracker.tickets.set(made.ticket_id, made);
  return { ...made, open_children: 0, comments: 0 };
}

function fileAnswer(tracker: Tracker, tool: string, args: Arguments): unknown {
  const path = String(args["path"] ?? args["from"]);
  const file = tracker.files.get(path);
  if (tool === "write_file") {
    const expected = Number(args["expected_version"] ?? 0);
    if (expected !== (file?.version ?? 0)) return { error: "version conflict", path, version: file?.version ?? 0 };
    tracker.files.set(path, { path, version: expected + 1, content: String(args["content"]) });
    return { path, version: expected + 1 };
  }
  if (file === undefined) return { error: "no such file", path };
  if (tool === "read_file") return file;
  const to = String(args["to"]);
  if (tracker.files.get(to) !== undefined) return { error: "name is taken", path: to };
  tracker.files.delete(path);
  tracker.files.set(to, { ...file, path: to });
  return { from: path, to, version: file.version };
}

function filesOf(tracker: Tracker, projectId: string): readonly unknown[] {
  return tracker.files
    .all()
    .filter(({ path }) => path.startsWith(`${projectId}/`))
    .map(({ path, version }) => ({ path, version }));
}
