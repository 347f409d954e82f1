import { sql } from "kysely";
import type { Database } from "../../../src/store/database.ts";

/** `table.column` of every column of every table that holds `text` in any row, as bytes or inside a document. */
export async function columnsWith(database: Database, text: string): Promise<string[]> {
  const columns = await sql<{ table_name: string; column_name: string; data_type: string }>`
    select table_name, column_name, data_type from information_schema.columns where table_schema = 'public' order by 1, 2`.execute(
    database.kysely,
  );
  const found: string[] = [];
  for (const { table_name, column_name, data_type } of columns.rows) {
    const column = sql.ref(column_name);
    const holds =
      data_type === "bytea" ? sql`position(convert_to(${text}, 'UTF8') in ${column}) > 0` : sql`position(${text} in ${column}::text) > 0`;
    const { rows } = await sql`select 1 from ${sql.table(table_name)} where ${holds} limit 1`.execute(database.kysely);
    if (rows.length > 0) found.push(`${table_name}.${column_name}`);
  }
  return found;
}

/** The stand-ins that are in spans and log events as they were stored, each once, in alphabetical order. */
export async function storedPseudonyms({ kysely }: Database): Promise<string[]> {
  const spans = await kysely.selectFrom("spans").select("raw").execute();
  const logs = await kysely.selectFrom("log_events").select("raw").execute();
  const text = Buffer.concat([...spans, ...logs].map(({ raw }) => raw)).toString("latin1");
  return [...new Set(text.match(/<[a-z]+_[a-z2-7]{8}>/g))].toSorted();
}

/** All rows of all tables as one text, bytes as what they spell in latin1. */
export async function rowsOf({ kysely }: Database): Promise<string> {
  const tables = await sql<{ name: string }>`select tablename as name from pg_tables where schemaname = 'public'`.execute(kysely);
  const texts: string[] = [];
  for (const { name } of tables.rows) {
    const { rows } = await sql<Record<string, unknown>>`select * from ${sql.table(name)}`.execute(kysely);
    for (const value of rows.flatMap((row) => Object.values(row))) {
      texts.push(
        value instanceof Uint8Array
          ? Buffer.from(value).toString("latin1")
          : typeof value === "string"
            ? value
            : (JSON.stringify(value) ?? ""),
      );
    }
  }
  return texts.join("\n");
}
