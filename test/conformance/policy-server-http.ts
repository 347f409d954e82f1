import { createParser } from "eventsource-parser";
import { z } from "zod";

/** A running server under the contract; adapters are directories that the server can read. */
export interface PolicyServerUnderTest {
  baseUrl: string;
  model: string;
  adapters: {
    /** Two that fit and change what is said. */
    good: string;
    other: string;
    /** One that fits and changes nothing (B = 0). */
    noop: string;
    /** Broken ones: rank too large, tensors of another base, file cut off. */
    wide: string;
    foreign: string;
    truncated: string;
  };
  stop(): Promise<void>;
}

export const TOOLS = [{ type: "function", function: { name: "lookup_order", parameters: { order_id: "string" } } }];
export const USER = { role: "user", content: "Where is my order A1234?" };

const choiceSchema = z.object({
  message: z.object({
    role: z.literal("assistant"),
    content: z.string().nullable(),
    tool_calls: z
      .array(
        z.object({ id: z.string().min(1), type: z.literal("function"), function: z.object({ name: z.string(), arguments: z.string() }) }),
      )
      .optional(),
  }),
  finish_reason: z.enum(["stop", "length", "tool_calls"]),
  token_ids: z.array(z.int()).nullish(),
  logprobs: z
    .object({ content: z.array(z.object({ token: z.string(), logprob: z.number().max(0), top_logprobs: z.array(z.unknown()) })) })
    .nullish(),
});
export const chatSchema = z.object({
  id: z.string(),
  object: z.literal("chat.completion"),
  created: z.int(),
  model: z.string(),
  choices: z.tuple([choiceSchema]),
  usage: z.object({ prompt_tokens: z.int(), completion_tokens: z.int(), total_tokens: z.int() }),
  prompt_token_ids: z.array(z.int()).nullish(),
});
export type ChatAnswer = z.infer<typeof chatSchema>;

const chunkSchema = z.object({
  object: z.literal("chat.completion.chunk"),
  choices: z.array(
    z.object({
      delta: z.object({
        role: z.string().optional(),
        content: z.string().nullish(),
        tool_calls: z
          .array(z.object({ index: z.int(), function: z.object({ name: z.string().nullish(), arguments: z.string().nullish() }) }))
          .optional(),
      }),
      finish_reason: z.string().nullish(),
      token_ids: z.array(z.int()).nullish(),
    }),
  ),
  usage: z.unknown().optional(),
  prompt_token_ids: z.array(z.int()).nullish(),
});

export const errorSchema = z.object({ error: z.object({ message: z.string().min(1), type: z.string(), code: z.int() }) });

const completionSchema = z.object({
  object: z.literal("text_completion"),
  choices: z.tuple([
    z.object({
      text: z.string(),
      prompt_logprobs: z
        .array(
          z
            .record(z.string(), z.object({ logprob: z.number(), rank: z.int().nullable(), decoded_token: z.string().nullable() }))
            .nullable(),
        )
        .nullable(),
    }),
  ]),
});

/** What a stream added up to. */
export interface StreamedChat {
  content: string;
  toolCalls: { name: string; arguments: string }[];
  finishReason: string | null;
  tokenIds: number[];
  promptTokenIds: number[] | null;
  usage: unknown;
  chunks: number;
  done: boolean;
}

/** Plain HTTP to the server under test. */
export function createClient(baseUrl: string) {
  const post = (path: string, body: unknown, signal?: AbortSignal): Promise<Response> =>
    fetch(baseUrl + path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: typeof body === "string" ? body : JSON.stringify(body),
      ...(signal === undefined ? {} : { signal }),
    });
  const read = async <T extends z.ZodType>(response: Response, schema: T): Promise<z.infer<T>> => {
    if (!response.ok) throw new Error(`HTTP ${response.status}: ${await response.text()}`);
    return schema.parse(await response.json());
  };

  return {
    post,
    get: (path: string): Promise<Response> => fetch(baseUrl + path),
    chat: async (body: object): Promise<ChatAnswer> => await read(await post("/v1/chat/completions", body), chatSchema),
    completion: async (body: object) => await read(await post("/v1/completions", body), completionSchema),
    tokenize: async (body: object): Promise<number[]> =>
      (await read(await post("/tokenize", body), z.object({ count: z.int(), tokens: z.array(z.int()) }))).tokens,
    load: (name: string, path: string): Promise<Response> => post("/v1/load_lora_adapter", { lora_name: name, lora_path: path }),
    unload: (name: string): Promise<Response> => post("/v1/unload_lora_adapter", { lora_name: name }),
    models: async () =>
      (
        await read(
          await fetch(`${baseUrl}/v1/models`),
          z.object({
            object: z.literal("list"),
            data: z.array(
              z.object({
                id: z.string(),
                object: z.literal("model"),
                root: z.string(),
                parent: z.string().nullable(),
                max_model_len: z.int().nullish(),
              }),
            ),
          }),
        )
      ).data,
    stream: async (body: object): Promise<StreamedChat> => await collect(await post("/v1/chat/completions", { ...body, stream: true })),
  };
}
export type Client = ReturnType<typeof createClient>;

async function collect(response: Response): Promise<StreamedChat> {
  if (!response.ok || response.body === null) throw new Error(`HTTP ${response.status}: ${await response.text()}`);
  const total: StreamedChat = {
    content: "",
    toolCalls: [],
    finishReason: null,
    tokenIds: [],
    promptTokenIds: null,
    usage: null,
    chunks: 0,
    done: false,
  };
  const parser = createParser({
    onEvent({ data }) {
      if (data === "[DONE]") total.done = true;
      else add(total, chunkSchema.parse(JSON.parse(data)));
    },
  });
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) parser.feed(text);
  return total;
}

function add(total: StreamedChat, chunk: z.infer<typeof chunkSchema>): void {
  total.chunks += 1;
  total.promptTokenIds ??= chunk.prompt_token_ids ?? null;
  if (chunk.usage !== undefined && chunk.usage !== null) total.usage = chunk.usage;
  for (const choice of chunk.choices) {
    total.content += choice.delta.content ?? "";
    total.tokenIds.push(...(choice.token_ids ?? []));
    total.finishReason = choice.finish_reason ?? total.finishReason;
    for (const call of choice.delta.tool_calls ?? []) {
      const known = (total.toolCalls[call.index] ??= { name: "", arguments: "" });
      known.name += call.function.name ?? "";
      known.arguments += call.function.arguments ?? "";
    }
  }
}
