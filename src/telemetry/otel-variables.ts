/**
 * Runs `work` with the `OTEL_` variables hidden. Those around this process are mostly an agent's, whose telemetry Nightshift receives: they would send its
 * credentials (OTEL_EXPORTER_OTLP_HEADERS) to another endpoint, or switch an SDK off. Nightshift's settings come from its config alone.
 */
export function hidingOtelVariables<T>(env: Record<string, string | undefined>, work: () => T): T {
  const hidden = Object.entries(env).filter(([name]) => name.startsWith("OTEL_"));
  for (const [name] of hidden) delete env[name];
  try {
    return work();
  } finally {
    for (const [name, value] of hidden) env[name] = value;
  }
}
