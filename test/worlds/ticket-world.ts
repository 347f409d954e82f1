import { drawTicketTask, extraTicketCall, ticketPolicy } from "./ticket-policy.ts";
import { labels, openTracker, trackerRules } from "./ticket-system.ts";
import { createWorld, define, toolConfig, type World, type WorldKind } from "./world.ts";

const traps = {
  workflow: "set_status is refused by the ticket's own status",
  coupling: "closing a parent is refused while a child is open: another ticket's state decides",
  hiddenCount: "get_ticket counts children and comments that it does not name",
  wording: "a comment's text is free text, and list_comments shows it",
  append: "the same comment twice is two comments",
  sets: "add_label twice changes nothing the second time and answers the same",
  bulk: "bulk_update names no ticket, changes many, and reports what was refused without an error",
  claiming: "get_next_ticket is annotated read-only and gives the ticket to whoever asks",
  versions: "write_file is refused unless the expected version is the current one",
  moved: "move_file takes a name away; another file may get it",
  lists: "list_project and search_tickets change with every ticket of the project",
  pseudonyms: "every conversation calls its own first colleague <email_1>",
  background: "colleagues move tickets on and edit files",
  cutResults: "long files reach the tape cut off, with a marker",
} as const;

const text = { type: "string" };
const status = { type: "string", enum: ["open", "doing", "review", "done"] };
const count = (value: number): Record<string, unknown> => ({ type: "integer", default: value });
const paging = { limit: count(4), offset: count(0) };
const tools = [
  define("get_ticket", { ticket_id: text }),
  define("list_comments", { ticket_id: text }),
  define("list_project", { project_id: text, ...paging }, ["project_id"]),
  define("search_tickets", { project_id: text, text, label: text, status, ...paging }, []),
  define("list_files", { project_id: text }),
  define("read_file", { path: text }),
  define("get_next_ticket", { project_id: text, agent: text }),
  define("set_status", { ticket_id: text, status, request_id: text }, ["ticket_id", "status"]),
  define("assign", { ticket_id: text, assignee: text }),
  define("comment", { ticket_id: text, body: text, request_id: text }, ["ticket_id", "body"]),
  define("add_label", { ticket_id: text, label: { ...text, enum: [...labels] } }),
  define("remove_label", { ticket_id: text, label: { ...text, enum: [...labels] } }),
  define("link", { ticket_id: text, parent: text }),
  define("bulk_update", { project_id: text, label: text, status, add_label: text }, ["project_id"]),
  define("create_ticket", { project_id: text, title: text, parent: text }, ["project_id", "title"]),
  define("write_file", { path: text, content: text, expected_version: count(0) }, ["path", "content"]),
  define("move_file", { from: text, to: text }),
];

const ticket = { argumentRoles: { ticket_id: "key" as const }, entityPaths: ["ticket:{ticket_id}"] };
const project = { argumentRoles: { project_id: "key" as const }, entityPaths: ["project:{project_id}"] };
const list = { limit: "filter", offset: "filter" } as const;

/** Tickets and files of a few projects, where most of what one conversation does changes what it sees later. */
export const ticketWorld: WorldKind = {
  name: "tickets",
  traps,
  tools,
  toolConfigs: {
    get_ticket: toolConfig({ class: "read", ...ticket }),
    list_comments: toolConfig({ class: "read", ...ticket }),
    list_project: toolConfig({ class: "read", argumentRoles: { ...project.argumentRoles, ...list }, entityPaths: project.entityPaths }),
    search_tickets: toolConfig({
      class: "read",
      argumentRoles: { project_id: "filter", text: "filter", label: "filter", status: "filter", ...list },
    }),
    list_files: toolConfig({ class: "read", ...project }),
    read_file: toolConfig({ class: "read", argumentRoles: { path: "key" }, entityPaths: ["file:{path}"] }),
    // Named and annotated like a read; it claims.
    get_next_ticket: toolConfig({ class: "read", argumentRoles: { project_id: "key", agent: "key" }, entityPaths: project.entityPaths }),
    set_status: toolConfig({ class: "write", ...ticket, argumentRoles: { ...ticket.argumentRoles, request_id: "nonce" } }),
    assign: toolConfig({ class: "write", ...ticket, argumentRoles: { ...ticket.argumentRoles, assignee: "key" } }),
    comment: toolConfig({ class: "write", ...ticket, argumentRoles: { ...ticket.argumentRoles, body: "freeText", request_id: "nonce" } }),
    add_label: toolConfig({ class: "write", ...ticket }),
    remove_label: toolConfig({ class: "write", ...ticket }),
    link: toolConfig({
      class: "write",
      argumentRoles: { ticket_id: "key", parent: "key" },
      entityPaths: ["ticket:{ticket_id}", "ticket:{parent}"],
    }),
    bulk_update: toolConfig({ class: "write", argumentRoles: { project_id: "key" } }),
    create_ticket: toolConfig({ class: "write", ...project, volatileResultPaths: ["ticket_id"] }),
    write_file: toolConfig({ class: "write", argumentRoles: { path: "key", content: "freeText" }, entityPaths: ["file:{path}"] }),
    move_file: toolConfig({ class: "write", argumentRoles: { from: "key", to: "key" }, entityPaths: ["file:{from}", "file:{to}"] }),
  },
  writes: new Set([
    ...["get_next_ticket", "set_status", "assign", "comment", "add_label", "remove_label", "link"],
    ...["bulk_update", "create_ticket", "write_file", "move_file"],
  ]),
  clocks: {},
  newIds: { create_ticket: ["ticket_id"] },
  longestResult: 330,
  create: (seed) => openTickets(seed),
  task: drawTicketTask,
  policy: ticketPolicy,
  extra: extraTicketCall,
};

export function openTickets(seed: number, which?: { first: number; count: number }): World {
  return createWorld(openTracker(seed, which), { ...trackerRules, tools: () => tools });
}
