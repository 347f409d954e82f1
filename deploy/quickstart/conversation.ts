import type OpenAI from "openai";
import type { ChatCompletionMessageFunctionToolCall, ChatCompletionMessageParam } from "openai/resources/chat/completions";
import { inSpan, markFailed } from "./agent-telemetry.ts";
import { systemPrompt, tools } from "./tools.ts";

export interface AgentOptions {
  client: OpenAI;
  model: string;
  shopUrl: string;
  temperature: number;
  maxModelCalls: number;
  maxTokens: number;
  /** Put tool arguments and results on spans, as the GenAI conventions ask it: only when the operator opted in. */
  captureContent: boolean;
}

export interface ConversationRequest {
  conversationId: string;
  userId: string;
  message: string;
}

export interface ConversationAnswer {
  reply: string;
  toolCalls: { name: string; arguments: string }[];
  /** Why the customer got an apology instead of an answer. */
  error?: "model_failed" | "too_many_calls" | "shop_failed";
}

const apology = "Sorry, something went wrong on our side. Please write again later.";

/** Serves one customer message to the final reply. Never rejects: what fails becomes an apology with `error`. */
export async function converse(request: ConversationRequest, options: AgentOptions): Promise<ConversationAnswer> {
  const attributes = {
    "gen_ai.operation.name": "invoke_agent",
    "gen_ai.agent.name": "shop-support",
    "gen_ai.conversation.id": request.conversationId,
    "user.id": request.userId,
  };
  return inSpan("invoke_agent shop-support", attributes, async (span) => {
    const answer = await loop(request, options);
    if (answer.error) markFailed(span, answer.error);
    return answer;
  });
}

async function loop(request: ConversationRequest, options: AgentOptions): Promise<ConversationAnswer> {
  const messages: ChatCompletionMessageParam[] = [
    { role: "system", content: systemPrompt },
    { role: "user", content: request.message },
  ];
  const toolCalls: ConversationAnswer["toolCalls"] = [];
  for (let call = 0; call < options.maxModelCalls; call += 1) {
    const message = await complete(request, options, messages).catch(() => null);
    if (!message) return { reply: apology, toolCalls, error: "model_failed" };
    const wanted = (message.tool_calls ?? []).filter((toolCall) => toolCall.type === "function");
    if (wanted.length === 0) return { reply: message.content ?? "", toolCalls };
    messages.push(message);
    for (const toolCall of wanted) {
      toolCalls.push({ name: toolCall.function.name, arguments: toolCall.function.arguments });
      const result = await executeTool(toolCall, options).catch(() => null);
      if (result === null) return { reply: apology, toolCalls, error: "shop_failed" };
      messages.push({ role: "tool", tool_call_id: toolCall.id, content: result });
    }
  }
  return { reply: apology, toolCalls, error: "too_many_calls" };
}

async function complete(request: ConversationRequest, options: AgentOptions, messages: ChatCompletionMessageParam[]) {
  const completion = await options.client.chat.completions.create(
    { model: options.model, messages, tools: [...tools], temperature: options.temperature, max_tokens: options.maxTokens },
    { headers: { "x-session-id": request.conversationId } },
  );
  return completion.choices[0]?.message ?? null;
}

/** The tool's result as text for the model. The shop's refusals (unknown order, wrong arguments) are results too. */
async function executeTool(toolCall: ChatCompletionMessageFunctionToolCall, options: AgentOptions): Promise<string> {
  const { name, arguments: args } = toolCall.function;
  const attributes = {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": name,
    "gen_ai.tool.type": "function",
    "gen_ai.tool.call.id": toolCall.id,
    ...(options.captureContent && { "gen_ai.tool.call.arguments": args }),
  };
  return inSpan(`execute_tool ${name}`, attributes, async (span) => {
    const response = await fetch(new URL(`/tools/${encodeURIComponent(name)}`, options.shopUrl), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: args,
      signal: AbortSignal.timeout(10_000),
    });
    if (response.status >= 500) throw new Error(`the shop answered ${response.status}`);
    const result = await response.text();
    if (!response.ok) markFailed(span, String(response.status));
    if (options.captureContent) span.setAttribute("gen_ai.tool.call.result", result);
    return result;
  });
}
