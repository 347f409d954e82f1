import { z } from "zod";

/** The parts of vLLM's answers that Nightshift reads. Loose: a newer vLLM adds fields; strict where a number would be wrong without. */
const toolCallSchema = z.object({
  id: z.string(),
  type: z.literal("function").default("function"),
  function: z.object({ name: z.string(), arguments: z.string() }),
});

/** A tuple, so that `choices[0]` is there by type: Nightshift always asks for one choice. */
const one = <T extends z.ZodType>(choice: T) => z.tuple([choice]);

export const chatAnswerSchema = z.object({
  prompt_token_ids: z.array(z.int()),
  choices: one(
    z.object({
      message: z.object({ content: z.string().nullish(), tool_calls: z.array(toolCallSchema).nullish() }),
      finish_reason: z.string(),
      token_ids: z.array(z.int()),
      logprobs: z.object({ content: z.array(z.object({ logprob: z.number() })) }),
    }),
  ),
});

export const promptLogprobsAnswerSchema = z.object({
  choices: one(z.object({ prompt_logprobs: z.array(z.record(z.string(), z.object({ logprob: z.number() })).nullable()) })),
});

export const modelsAnswerSchema = z.object({
  data: z.array(z.object({ id: z.string(), root: z.string().nullish(), parent: z.string().nullish() })),
});

/**
 * What a server without `--scheduling-policy priority` says to any priority but 0, as vLLM's reference has it. Its V0 engine does; V1 (0.32) takes the number and does nothing with it.
 */
export const PRIORITY_REFUSED = /priority scheduling is not enabled/i;

export const errorAnswerSchema = z.object({ error: z.object({ message: z.string(), type: z.string() }) });
