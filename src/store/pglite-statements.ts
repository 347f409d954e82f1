import { type PGlite, parse, protocol } from "@electric-sql/pglite";
import { type CopiedRow, isCopy } from "./copied.ts";
import { bindAndExecute, type BoundValue } from "./pglite-bind.ts";

export interface StatementResult {
  rows: readonly unknown[];
  affectedRows: number;
  /** The first word of the command tag. */
  command: string;
}

type BackendMessage = Awaited<ReturnType<PGlite["execProtocolStream"]>>[number];

/** A statement that Postgres has parsed. */
interface Prepared {
  name: string;
  parameterTypes: readonly number[];
  /** What its rows look like. */
  described: readonly BackendMessage[];
}

/** Statements that Postgres keeps; the one that was not used for longest goes first. */
const MAX_PREPARED = 200;
/** What is longer has a parameter for each of many values: it hardly comes again, and would be megabytes of a plan's memory. */
const LONGEST_KEPT = 8_192;
/** What the tables look like is part of a prepared statement. */
const CHANGES_TABLES = /^\s*(?:create|alter|drop)\b/i;

const { serialize } = protocol;

/**
 * Runs statements on PGlite, one after the other. In place of its own `query`, which goes into WebAssembly six times for each one and has it parsed each time: here what comes again is
 * parsed once, and goes in once. It is planned every time all the same (`plan_cache_mode`), since a plan that was made for an empty table would stay.
 */
export function createStatements(postgres: PGlite): (sql: string, parameters: readonly unknown[]) => Promise<StatementResult> {
  const known = new Map<string, Prepared>();
  let names = 0;
  const exchange = (message: Uint8Array) => postgres.execProtocolStream(message, { syncToFs: false });

  async function prepared(sql: string): Promise<Prepared> {
    if (sql.length > LONGEST_KEPT) return prepare(sql, "");
    const found = known.get(sql) ?? (await prepareKept(sql));
    known.delete(sql);
    known.set(sql, found);
    return found;
  }

  async function prepareKept(sql: string): Promise<Prepared> {
    const [oldest] = known.size < MAX_PREPARED ? [] : known;
    if (oldest === undefined) return prepare(sql, `s${++names}`);
    known.delete(oldest[0]);
    return prepare(sql, `s${++names}`, [serialize.close({ type: "S", name: oldest[1].name })]);
  }

  async function prepare(text: string, name: string, before: readonly Uint8Array[] = []): Promise<Prepared> {
    const messages = [...before, serialize.parse({ name, text }), serialize.describe({ type: "S", name }), serialize.sync()];
    const described = await exchange(Buffer.concat(messages));
    return { name, described, parameterTypes: parse.parseDescribeStatementResults(described) };
  }

  function valueOf(parameter: unknown, type: number | undefined): BoundValue {
    if (parameter === null || parameter === undefined) return null;
    const serializer = postgres.serializers[type ?? 0];
    return serializer === undefined ? (parameter as { toString(): string }).toString() : serializer(parameter);
  }

  return async (sql, parameters) => {
    if (isCopy(sql)) return { rows: copiedIn(await exchange(serialize.query(sql))), affectedRows: 0, command: "COPY" };
    const { name, parameterTypes, described } = await prepared(sql);
    const values = parameters.map((parameter, index) => valueOf(parameter, parameterTypes[index]));
    const answers = await exchange(bindAndExecute(name, values));
    if (CHANGES_TABLES.test(sql)) {
      known.clear();
      await exchange(serialize.query("deallocate all"));
    }
    const [result] = parse.parseResults([...described, ...answers], postgres.parsers);
    const { rows = [], affectedRows = 0, command = "" } = result ?? {};
    return { rows, affectedRows, command: command.split(" ")[0] ?? "" };
  };
}

function copiedIn(messages: readonly BackendMessage[]): CopiedRow[] {
  return messages.flatMap((message) => (message instanceof protocol.messages.CopyDataMessage ? [{ copied: message.chunk }] : []));
}
