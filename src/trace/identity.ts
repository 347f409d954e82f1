/**
 * Where SDKs write whose a span or log event is, on itself or on its resource, the most telling name first. What is filed, assembled, screened and erased goes by the same names. A dialect may
 * know one of them better on its own spans.
 */

/** `langsmith.trace.session_id` is none: LangSmith calls a project so. */
export const CONVERSATION_ATTRIBUTES: readonly string[] = [
  "gen_ai.conversation.id",
  "conversation.id",
  "thread.id",
  "langsmith.metadata.thread_id",
  "langsmith.metadata.conversation_id",
  "traceloop.association.properties.conversation_id",
  "traceloop.association.properties.thread_id",
  "ai.telemetry.metadata.conversationId",
  "ai.telemetry.metadata.threadId",
  "ai.telemetry.metadata.chatId",
  "ai.settings.context.conversationId",
  "ai.settings.context.threadId",
  "ai.settings.context.chatId",
];

/** A session may hold several conversations. */
export const SESSION_ATTRIBUTES: readonly string[] = [
  "session.id",
  "langfuse.session.id",
  "langsmith.metadata.session_id",
  "traceloop.association.properties.session_id",
  "ai.telemetry.metadata.sessionId",
  "ai.settings.context.sessionId",
  "gcp.vertex.agent.session_id",
];

/** The end user. */
export const SUBJECT_ATTRIBUTES: readonly string[] = [
  "user.id",
  "enduser.id",
  "langfuse.user.id",
  "langsmith.metadata.user_id",
  "traceloop.association.properties.user_id",
  "ai.telemetry.metadata.userId",
  "ai.settings.context.userId",
];
