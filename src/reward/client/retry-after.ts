/** When a server wants to be asked again: seconds or a date (RFC 9110 §10.2.3), as milliseconds from now. Null where it names no time to come. */
export function retryAfterMs(headers: { get(name: string): string | null } | undefined, nowMs: number): number | null {
  const header = headers?.get("retry-after") ?? null;
  if (header === null) return null;
  const seconds = Number(header);
  const waitMs = Number.isFinite(seconds) ? seconds * 1_000 : Date.parse(header) - nowMs;
  return waitMs > 0 ? waitMs : null;
}
