/** A made-up task: what a user asks of an agent that nobody has talked to yet. */
export interface Task {
  /** The user's first message. */
  text: string;
  /** From 1, one call, to 5, several calls that build on one another. */
  difficulty: number;
  /** Tools that it should take, by its writer's word. */
  tools: readonly string[];
}

export const DIFFICULTIES = [1, 2, 3, 4, 5] as const;
export const TASK_CHARS = { min: 12, max: 1_500 } as const;
