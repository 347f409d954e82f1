import { returnVisit, type Contact, type Customer } from "./customers.ts";
import type { Outcome } from "./shop.ts";

/** One contact after the agent's reply and the shop's judgement. */
export interface Served {
  contact: Contact;
  conversationId: string;
  reply: string;
  /** The agent's own error, where the customer got an apology. */
  error: string | null;
  outcome: Outcome;
}

export interface CrowdOptions {
  customers: readonly Customer[];
  agentUrl: string;
  shopUrl: string;
  /** Customers talking at the same time; a customer has one conversation at a time. */
  concurrency: number;
  /** Prefix of conversation ids, so that two crowds never share one. */
  name: string;
  /** Unsatisfied customers come back, up to three times. Off for measurements: every contact counts once. */
  comeBack: boolean;
  /** Called after every contact; return false to send everybody home. */
  onServed?: (served: Served) => boolean | void;
  signal?: AbortSignal;
}

/** Sends customers to the agent and asks the shop how it went. Resolves to all contacts in the order in which they ended. */
export async function serveCrowd(options: CrowdOptions): Promise<Served[]> {
  const waiting = [...options.customers];
  const served: Served[] = [];
  let open = true;
  const lane = async (): Promise<void> => {
    for (let customer = waiting.shift(); customer && open; customer = waiting.shift()) {
      for await (const contact of contactsOf(customer, options)) {
        served.push(contact);
        if (options.onServed?.(contact) === false) open = false;
        if (!open) return;
      }
    }
  };
  await Promise.all(Array.from({ length: options.concurrency }, lane));
  return served;
}

async function* contactsOf(customer: Customer, options: CrowdOptions): AsyncGenerator<Served> {
  for (const visit of customer.visits) {
    for (let contact: Contact | null = visit; contact;) {
      const served = await serveContact(contact, options);
      yield served;
      contact = options.comeBack ? returnVisit(contact, served.outcome) : null;
    }
  }
}

async function serveContact(contact: Contact, { agentUrl, shopUrl, name, signal }: CrowdOptions): Promise<Served> {
  const conversationId = `${name}-${contact.contactId}`;
  const asked = { conversationId, userId: contact.userId, message: contact.message };
  const answer = await post<{ reply: string; error?: string }>(new URL("/conversations", agentUrl), asked, signal);
  const contacted = { orderId: contact.orderId, kind: contact.kind, reply: answer.reply };
  const outcome = await post<Outcome>(new URL("/outcome", shopUrl), contacted, signal);
  return { contact, conversationId, reply: answer.reply, error: answer.error ?? null, outcome };
}

async function post<T>(url: URL, body: unknown, signal?: AbortSignal): Promise<T> {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal: signal ?? null,
  });
  if (!response.ok) throw new Error(`${url.pathname} answered ${response.status}`);
  return (await response.json()) as T;
}
