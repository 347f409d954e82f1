/** The bytes that the bench sends and gets: an agent in the middle of a task, with tools, and answers of a usual size. Synthetic; sizes are what counts. */

const TOOLS = [
  ["lookup_order", "Finds one order by its id and returns its items, prices, status and shipping address."],
  ["search_orders", "Lists the orders of the customer that was verified, newest first, at most twenty."],
  ["check_stock", "Says how many pieces of an item are in each warehouse and when more will come."],
  ["create_return", "Opens a return for items of an order that was delivered, and books the parcel's collection."],
  ["refund_order", "Pays back an order or some of its items to the payment method that it was paid with."],
  ["send_message", "Sends the customer an e-mail from one of the shop's templates, in the customer's language."],
] as const;

const PARAMETERS = {
  type: "object",
  properties: {
    order_id: { type: "string", description: "Letter and four digits, as printed on the invoice." },
    item_ids: { type: "array", items: { type: "string" }, description: "Only these items; all of them when left out." },
    reason: { type: "string", enum: ["damaged", "late", "wrong_item", "changed_mind"], description: "What the customer said." },
  },
  required: ["order_id"],
  additionalProperties: false,
};

const RULE =
  "Verify who the customer is before you change anything. Never promise a refund that the policy does not allow: orders that were delivered more than thirty days ago are not paid back. ";

const item = (n: number) => ({
  item_id: `I${100 + n}`,
  name: `Lamp, model ${n}`,
  price_cents: 2_900 + 100 * n,
  quantity: 1,
  state: "delivered",
});

function toolCall(id: string, name: string, args: object): object {
  return { role: "assistant", content: null, tool_calls: [{ id, type: "function", function: { name, arguments: JSON.stringify(args) } }] };
}

/** Body of one chat request, about 6 KB. */
export function requestBody(options: { model: string; stream: boolean }): Buffer {
  const order = { order_id: "A1234", status: "delivered", placed: "2026-11-02", items: [1, 2, 3, 4].map(item), total_cents: 12_600 };
  return Buffer.from(
    JSON.stringify({
      model: options.model,
      temperature: 0.7,
      max_tokens: 512,
      ...(options.stream ? { stream: true, stream_options: { include_usage: true } } : {}),
      messages: [
        { role: "system", content: `You help the customers of a lamp shop. ${RULE.repeat(5)}` },
        { role: "user", content: "Hello, two of the lamps in my order A1234 came broken. Can I have my money back for those?" },
        toolCall("call_1", "lookup_order", { order_id: "A1234" }),
        { role: "tool", tool_call_id: "call_1", content: JSON.stringify(order) },
        {
          role: "assistant",
          content: "I am sorry to hear that. Which two of the four lamps are broken, please? „Model 1“ to „Model 4“ were in the parcel.",
        },
        { role: "user", content: "Models 2 and 3. The glass is in pieces, I can send a picture." },
        toolCall("call_2", "create_return", { order_id: "A1234", item_ids: ["I102", "I103"], reason: "damaged" }),
        {
          role: "tool",
          tool_call_id: "call_2",
          content: JSON.stringify({ return_id: "R77", items: [2, 3].map(item), collected: "2026-11-23" }),
        },
      ],
      tools: TOOLS.map(([name, description]) => ({ type: "function", function: { name, description, parameters: PARAMETERS } })),
    }),
  );
}

const WORDS =
  "The return is booked and the parcel will be collected on Monday; both lamps are paid back to your card as soon as it has left. ".repeat(
    6,
  );
const HEAD = { id: "chatcmpl-5d1f0a3c7b9e4d21", created: 1_795_000_000, model: "shop-model" };
const USAGE = { prompt_tokens: 1_423, completion_tokens: 160, total_tokens: 1_583, prompt_tokens_details: { cached_tokens: 1_024 } };

/** Body of an answer that was not streamed, about 1 KB. */
export function answerBody(): Buffer {
  const message = { role: "assistant", content: WORDS, refusal: null, tool_calls: [] };
  const choices = [{ index: 0, message, logprobs: null, finish_reason: "stop", stop_reason: null }];
  return Buffer.from(JSON.stringify({ ...HEAD, object: "chat.completion", choices, usage: USAGE, system_fingerprint: null }));
}

/** The same answer as server-sent events, one write of the server each: 50 pieces of text, then the finish, the usage and the end mark. */
export function answerEvents(): readonly Buffer[] {
  const chunk = (choices: readonly object[], more: object = {}) => ({ ...HEAD, object: "chat.completion.chunk", choices, ...more });
  const size = Math.ceil(WORDS.length / 50);
  const pieces = Array.from({ length: 50 }, (_, n) => WORDS.slice(n * size, (n + 1) * size));
  const events = [
    ...pieces.map((content, n) =>
      chunk([{ index: 0, delta: { ...(n === 0 ? { role: "assistant" } : {}), content }, finish_reason: null }]),
    ),
    chunk([{ index: 0, delta: {}, finish_reason: "stop" }]),
    chunk([], { usage: USAGE }),
  ].map((event) => Buffer.from(`data: ${JSON.stringify(event)}\n\n`));
  return [...events, Buffer.from("data: [DONE]\n\n")];
}
