/** Of pools in tests: as configured by default, but for shorter waits. */
export const LIMITS = { maxConnections: 10, connectTimeoutMs: 5_000, statementTimeoutMs: 10_000 };
