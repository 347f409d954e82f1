import { type Kysely, type RawBuilder, sql } from "kysely";
import type { Tables } from "./tables.ts";

/** Drivers answer a statement that begins like this with a row for each message that the server sent. Usual rows bring bytes as hexadecimal text, twice as long. */
const COPY = /^copy \(/;

export interface CopiedRow {
  copied: Uint8Array;
}

/** Whether a driver has to answer the statement with `CopiedRow`s. */
export function isCopy(statement: string): boolean {
  return COPY.test(statement);
}

/**
 * The bytes of the one `bytea` column of a query, null nowhere, in its order, each with a buffer to itself but for `FRAME_BYTES` at most. COPY takes no parameters: texts go into the
 * query as `literals`.
 */
export async function readBytes(db: Kysely<Tables>, query: RawBuilder<unknown>): Promise<Uint8Array[]> {
  const { rows } = await sql<CopiedRow>`copy (${query}) to stdout (format binary)`.execute(db);
  return rows.flatMap(({ copied }, index) => fieldOf(copied, index === 0));
}

/** Texts without line breaks as a `text[]` inside a statement. In hexadecimal, because what a quote or a backslash means is a setting of the server. */
export function literals(texts: readonly string[]): RawBuilder<string[]> {
  return sql`string_to_array(convert_from(decode(${sql.lit(Buffer.from(texts.join("\n")).toString("hex"))}, 'hex'), 'UTF8'), chr(10))`;
}

/** A signature, flags, and the length of nothing more. */
const HEADER_BYTES = 19;
/** How many fields there are, and the length of the first. */
const FIELD_AT = 6;
export const FRAME_BYTES = HEADER_BYTES + FIELD_AT;

/** The field in a message of Postgres' binary COPY format, which has one message for every row, behind the header in the first; none where it says that the end has come. */
function fieldOf(copied: Uint8Array, isFirst: boolean): Uint8Array[] {
  const start = isFirst ? HEADER_BYTES : 0;
  const view = new DataView(copied.buffer, copied.byteOffset, copied.byteLength);
  if (view.getInt16(start) !== 1) return [];
  return [copied.subarray(start + FIELD_AT, start + FIELD_AT + view.getInt32(start + 2))];
}
