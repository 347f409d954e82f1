/** Parameters of one statement are counted in 16 bits. Postgres answers one more with a protocol error, which looks like a broken connection. */
const MAX_PARAMETERS = 65_535;

/** Rows in pieces that one insert can take, in their order. */
export function insertable<T extends object>(rows: readonly T[]): T[][] {
  const columns = rows[0] === undefined ? 1 : Object.keys(rows[0]).length;
  const size = Math.floor(MAX_PARAMETERS / columns);
  return Array.from({ length: Math.ceil(rows.length / size) }, (_, index) => rows.slice(index * size, (index + 1) * size));
}
