import { expect, it } from "vitest";
import { createSpanExporter } from "../../src/app/span-exporter.ts";
import { silentLog } from "../../src/log.ts";
import { createCaptureSink } from "../../src/serving/gateway/span-export.ts";
import { startEndpoint } from "../telemetry/endpoint.ts";

it("sends the gateway's spans with the configured token, and with nothing of the agent's environment", async () => {
  const collector = await startEndpoint();
  const env = {
    OTEL_EXPORTER_OTLP_HEADERS: "authorization=Bearer of-the-agent,x-agent=1",
    OTEL_EXPORTER_OTLP_TRACES_HEADERS: "x-traces=1",
  };
  Object.assign(process.env, env);
  try {
    const exporter = createSpanExporter({ collectorUrl: `${collector.url}/`, token: "of-the-gateway" }, { env: process.env });
    expect(process.env).toMatchObject(env);
    const sink = createCaptureSink([{ agent: "shop", serviceName: "shop" }], { exporter, log: silentLog() });
    sink.admit("shop", 1)?.startSpan("call").end();
    await sink.close();
  } finally {
    for (const name of Object.keys(env)) delete process.env[name];
    await collector.close();
  }
  expect(collector.received.map(({ path, headers }) => [path, headers["authorization"], headers["x-agent"], headers["x-traces"]])).toEqual([
    ["/v1/traces", "Bearer of-the-gateway", undefined, undefined],
  ]);
});
