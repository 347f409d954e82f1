/** One error: what it says of its own arguments, and what the operator does. */
// oxlint-disable-next-line typescript/no-explicit-any -- each row names its own arguments; the call is checked by ErrorArgs
export type Row = { message: (args: any) => string; fix: string; retryable: boolean };
