import type { Random } from "../../deploy/quickstart/random.ts";
import { addressOf } from "./people.ts";
import { labels, people, projects, ticketsEach } from "./ticket-system.ts";
import { parsed, textAt, type Policy, type Task, type WorldCall } from "./world.ts";

export function drawTicketTask(random: Random): Task {
  const project = random.integer(0, projects - 1);
  const colleague = random.integer(0, people - 1);
  const first = project * ticketsEach + 1;
  const kind = random.pick(["close", "triage", "claim", "write", "bulk", "create"]);
  const ids = {
    projectId: `P${project}`,
    ticketId: `T${first + random.integer(0, ticketsEach - 1)}`,
    parentId: `T${first + random.integer(0, 1)}`,
    path: `P${project}/${random.pick(["notes.md", "plan.md"])}`,
    email: addressOf(colleague),
  };
  const says = {
    close: `close ${ids.parentId} and what hangs on it`,
    triage: `sort out ${ids.ticketId} below ${ids.parentId}`,
    claim: `give me something to do in ${ids.projectId}`,
    write: `bring ${ids.path} up to date`,
    bulk: `label everything in ${ids.projectId}, see ${ids.ticketId}`,
    create: `open a ticket in ${ids.projectId} below ${ids.parentId}`,
  }[kind];
  return { user: `u${colleague}`, kind, message: `${ids.email} here: ${says}`, ids };
}

const call = (tool: string, args: Record<string, unknown>): WorldCall => ({ tool, args });

type Name = "ticket" | "parent" | "comments" | "project" | "search" | "files" | "file";

function readsOf({ ids }: Task, random: Random): Record<Name, WorldCall> {
  const { projectId = "", ticketId = "", parentId = "", path = "" } = ids;
  const paging = random.chance(0.3) ? { limit: random.pick([2, 4, 8]), offset: random.pick([0, 2]) } : {};
  const filter = random.pick([{ label: random.pick(labels) }, { status: random.pick(["open", "doing"]) }, { text: "invoice" }, {}]);
  return {
    ticket: call("get_ticket", { ticket_id: ticketId }),
    parent: call("get_ticket", { ticket_id: parentId }),
    comments: call("list_comments", { ticket_id: ticketId }),
    project: call("list_project", { project_id: projectId, ...paging }),
    search: call("search_tickets", { project_id: projectId, ...filter, ...paging }),
    files: call("list_files", { project_id: projectId }),
    file: call("read_file", { path }),
  };
}

function writesOf({ ids }: Task, random: Random): readonly WorldCall[] {
  const { projectId = "", ticketId = "", parentId = "", path = "", email = "" } = ids;
  const nonce = random.chance(0.4) ? { request_id: `q-${random.integer(0, 1e6)}` } : {};
  const ticket_id = random.chance(0.7) ? ticketId : parentId;
  return [
    call("set_status", { ticket_id, status: random.pick(["doing", "review", "done", "open"]), ...nonce }),
    call("assign", { ticket_id, assignee: email }),
    call("comment", { ticket_id, body: random.pick(["on it", "please check", "on it"]), ...nonce }),
    call("add_label", { ticket_id, label: random.pick(labels) }),
    call("remove_label", { ticket_id, label: random.pick(labels) }),
    call("link", { ticket_id: ticketId, parent: parentId }),
    call("bulk_update", {
      project_id: projectId,
      label: random.pick(labels),
      ...random.pick([{ add_label: "docs" }, { status: "doing" }, { status: "done" }]),
    }),
    call("create_ticket", {
      project_id: projectId,
      title: random.pick(["look into it", "follow up"]),
      ...(random.chance(0.5) ? { parent: parentId } : {}),
    }),
    call("get_next_ticket", { project_id: projectId, agent: email }),
    call("write_file", { path, content: random.pick(["done", "see ticket", "y".repeat(80)]), expected_version: random.integer(0, 2) }),
    call("move_file", { from: path, to: `${projectId}/${random.pick(["old.md", "plan.md"])}` }),
  ];
}

export function extraTicketCall(task: Task, random: Random): WorldCall {
  return random.chance(0.5) ? random.pick(Object.values(readsOf(task, random))) : random.pick(writesOf(task, random));
}

/** Serves the request, with detours, repetitions and mistakes; most kinds write several times. */
export const ticketPolicy: Policy = function* serve(task, random) {
  const reads = readsOf(task, random);
  if (random.chance(0.4)) yield [random.chance(0.5) ? reads.project : reads.search];
  const { ticketId = "", parentId = "", email = "", path = "", projectId = "" } = task.ids;
  const set = (ticket_id: string, status: string): WorldCall => call("set_status", { ticket_id, status });
  if (task.kind === "close") {
    if (random.chance(0.8)) yield random.chance(0.2) ? [reads.parent, reads.ticket] : [reads.parent];
    yield* along(ticketId, random, set);
    if (random.chance(0.5)) yield [reads.parent];
    yield* along(parentId, random, set);
    if (random.chance(0.5)) yield [reads.parent];
  } else if (task.kind === "triage") {
    yield [reads.ticket];
    if (random.chance(0.6)) yield [call("add_label", { ticket_id: ticketId, label: random.pick(labels) })];
    if (random.chance(0.5)) yield [call("comment", { ticket_id: ticketId, body: "on it" })];
    if (random.chance(0.5)) yield [call("assign", { ticket_id: ticketId, assignee: email })];
    if (random.chance(0.4)) yield [call("link", { ticket_id: ticketId, parent: parentId })];
    if (random.chance(0.7)) yield [reads.ticket];
    if (random.chance(0.5)) yield [reads.comments];
  } else if (task.kind === "write") yield* write(task, random);
  else if (task.kind === "claim") {
    const claimed = parsed((yield [call("get_next_ticket", { project_id: projectId, agent: email })]).at(0))["ticket"];
    const id = claimed === null || claimed === undefined ? ticketId : textAt(claimed as Record<string, unknown>, "ticket_id");
    yield [call("get_ticket", { ticket_id: id })];
    if (random.chance(0.4)) yield [call("comment", { ticket_id: id, body: "mine now" })];
    if (random.chance(0.4)) yield [reads.project];
  } else {
    const wanted = task.kind === "bulk" ? "bulk_update" : "create_ticket";
    const made = parsed((yield writesOf(task, random).filter(({ tool }) => tool === wanted)).at(0));
    if (random.chance(0.6)) yield [call("get_ticket", { ticket_id: textAt(made, "ticket_id", ticketId) })];
    if (random.chance(0.5)) yield [reads.project];
    if (random.chance(0.5)) yield [reads.parent];
  }
  if (random.chance(0.3)) yield [extraTicketCall(task, random)];
  if (random.chance(0.2)) yield [random.pick([reads.ticket, reads.file, reads.files])];
  return `${path} and ${ticketId} are looked after.`;
};

function* along(
  ticketId: string,
  random: Random,
  set: (id: string, status: string) => WorldCall,
): Generator<readonly WorldCall[], void, readonly string[]> {
  for (const status of ["doing", "review", "done"]) {
    if (random.chance(0.85)) yield [set(ticketId, status)];
  }
}

function* write({ ids }: Task, random: Random): Generator<readonly WorldCall[], void, readonly string[]> {
  const { path = "", projectId = "" } = ids;
  const read = call("read_file", { path });
  const seen = random.chance(0.8) ? parsed((yield [read]).at(0)) : {};
  if (random.chance(0.3)) yield [call("move_file", { from: path, to: `${projectId}/old.md` })];
  const expected = Number(seen["version"] ?? 1);
  const content = random.pick(["done", "see ticket"]);
  yield [call("write_file", { path, content, expected_version: random.chance(0.8) ? expected : 0 })];
  if (random.chance(0.6)) yield [read];
  if (random.chance(0.3)) yield [call("write_file", { path, content: "done", expected_version: expected + 1 })];
  if (random.chance(0.3)) yield [call("list_files", { project_id: projectId })];
}
