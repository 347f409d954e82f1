import { randomUUID } from "node:crypto";
import type { AddressInfo } from "node:net";
import { serve, type ServerType } from "@hono/node-server";
import { Server, WebStandardStreamableHTTPServerTransport } from "@modelcontextprotocol/server";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Order } from "../../deploy/quickstart/catalog.ts";
import { generateFresh, type Contact } from "../../deploy/quickstart/customers.ts";
import { createShop } from "../../deploy/quickstart/shop.ts";
import { systemPrompt, tools } from "../../deploy/quickstart/tools.ts";
import type { RunView } from "../../src/api/views.ts";
import type { BootstrapDryRun } from "../../src/training/bootstrap-plan.ts";
import { cli } from "../cli/terminal.ts";
import { startJudgeServer, type JudgeRequest, type JudgeServer } from "../reward/judge-server.ts";
import { createSmallShop, SMALL, type SmallShop } from "./small-shop.ts";

/** The quickstart's shop as a sandboxed MCP server whose sessions each have a world, a scripted LLM that makes tasks up, and all else as it is: policy server, trainer, loops. */
const TASKS = 16;
const world = generateFresh({ seed: 5, customers: 200 });
let small: SmallShop;
let llm: JudgeServer;
let sandbox: { url: string; sessions: () => number; open: () => number; close(): void };

beforeAll(async () => {
  small = await createSmallShop({ contacts: 1, seed: 5 });
  sandbox = await startSessions(world.orders);
  llm = await startJudgeServer(writeTasks(differentContacts()));
});
afterAll(async () => {
  await small?.close();
  sandbox?.close();
  await llm?.close();
});

test("an agent that nobody has talked to learns in the sandbox, by the command line, to an adapter that the fleet has proven", async () => {
  await small.configure({
    ...SMALL,
    // The warm start's adapter is loaded and proven like any other, and GRPO's batch is refused unless it was sampled with it.
    night: { ...(SMALL["night"] as object), stages: ["sft", "grpo"], sft: { learningRate: 1e-3 } },
    replay: { maxCalls: 6, concurrency: 32, simulator: { model: "writer", baseUrl: llm.url } },
    scenario: { heldOutShare: 0.2 },
    bootstrap: { sandboxed: true, server: { url: sandbox.url }, worldPerConnection: true, concurrency: 32, systemPrompt, tasks: TASKS },
  });
  const up = await small.up();
  const api = ["--url", up.ready.api];
  const look = await cli(["bootstrap", "--dry-run", "--json", ...api]);
  expect(look).toMatchObject({ code: 0 });
  const plan = JSON.parse(look.out) as BootstrapDryRun;
  expect(plan).toMatchObject({ isolation: "connection", tasks: { length: TASKS } });
  const asked = llm.requests.length;

  const { code, out, err } = await cli(["bootstrap", "--wait", "--json", ...api]);
  expect({ code, err }).toMatchObject({ code: 0 });
  const run = JSON.parse(out) as RunView;
  expect(run).toMatchObject({ state: "finished", outcome: { kind: "candidate" }, plan: { bootstrap: { tasks: TASKS } } });
  // What the look had shown.
  expect(llm.requests).toHaveLength(asked);
  const trained = run.steps.filter(({ step }) => step.startsWith("train-"));
  expect(trained.map(({ output }) => output)).toMatchObject([
    { objective: "sft", name: expect.any(String) },
    { objective: "grpo", name: expect.any(String) },
  ]);
  const train = plan.tasks.filter(({ split }) => split === "train").length;
  expect(run.steps.find(({ step }) => step === "tasks")?.output).toMatchObject({ train, held_out: TASKS - train, isolation: "connection" });

  const { groups } = JSON.parse((await cli(["groups", "list", "--json", ...api])).out) as {
    groups: { id: string; summary: { verdict: string; callsByRung: object; masked: object } }[];
  };
  const kept = groups.filter(({ summary }) => summary.verdict === "kept");
  expect(kept.length).toBeGreaterThan(0);
  expect(new Set(groups.flatMap(({ summary }) => Object.keys(summary.callsByRung)))).toEqual(new Set(["R6"]));
  expect(groups.every(({ summary }) => Object.keys(summary.masked).length === 0)).toBe(true);
  const shown = await cli(["groups", "show", kept[0]?.id ?? "", ...api]);
  expect(shown.out).toMatch(/sandbox +live, a world for each member/);
  const beside = await cli(["replay", kept[0]?.id ?? "", "--member", "0", ...api]);
  expect(beside).toMatchObject({ out: expect.stringMatching(/recording +none: its task was made up/) });
  expect(sandbox.sessions()).toBeGreaterThan(kept.length);
  // Whoever opened a session has ended it.
  expect(sandbox.open()).toBe(0);
});

/** Contacts of which no two say the same but for the order. */
function differentContacts(): Contact[] {
  const contacts = world.customers.flatMap(({ visits }) => visits).filter(({ message }) => message.length >= 12);
  return [...Map.groupBy(contacts, ({ message }) => message.replace(/A\d+/, "#")).values()].flatMap(([first]) => first ?? []);
}

/** Says what the shop's customers say, and of the difficulties that it is asked for. */
function writeTasks(contacts: Contact[]): (request: JudgeRequest) => { text: string } {
  return ({ messages }) => {
    const order = messages[1]?.content.split("\n").at(-1) ?? "";
    const difficulties = [...order.matchAll(/(\d+) of difficulty (\d)/g)].flatMap(([, many, one]) =>
      Array<number>(Number(many)).fill(Number(one)),
    );
    const written = difficulties.flatMap((difficulty) => {
      const contact = contacts.pop();
      return contact === undefined ? [] : [{ task: contact.message, difficulty, tools: ["lookup_order"] }];
    });
    return { text: JSON.stringify({ tasks: written }) };
  };
}

async function startSessions(orders: readonly Order[]): Promise<typeof sandbox> {
  const sessions = new Map<string, WebStandardStreamableHTTPServerTransport>();
  let begun = 0;
  const answer = async (request: Request): Promise<Response> => {
    const known = sessions.get(request.headers.get("mcp-session-id") ?? "");
    if (known !== undefined) return known.handleRequest(request);
    const transport = new WebStandardStreamableHTTPServerTransport({
      sessionIdGenerator: () => randomUUID(),
      onsessioninitialized: (id) => {
        begun += 1;
        sessions.set(id, transport);
      },
      onsessionclosed: (id) => void sessions.delete(id),
    });
    await shopServer(orders).connect(transport);
    return transport.handleRequest(request);
  };
  let listening: ServerType;
  await new Promise<void>((resolve) => {
    listening = serve({ fetch: answer, hostname: "127.0.0.1", port: 0 }, () => resolve());
  });
  const { port } = listening!.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/mcp`,
    sessions: () => begun,
    open: () => sessions.size,
    close() {
      listening.close();
      if ("closeAllConnections" in listening) listening.closeAllConnections();
    },
  };
}

function shopServer(orders: readonly Order[]): Server {
  const shop = createShop(orders);
  const server = new Server({ name: "shop", version: "1" }, { capabilities: { tools: {} } });
  server.setRequestHandler("tools/list", () => ({
    tools: tools.map(({ function: { name, description, parameters } }) => ({ name, description, inputSchema: parameters })),
  }));
  server.setRequestHandler("tools/call", ({ params }) => {
    const { status, body } = shop.call(params.name, params.arguments ?? {});
    return { content: [{ type: "text" as const, text: JSON.stringify(body) }], ...(status === 200 ? {} : { isError: true }) };
  });
  return server;
}
