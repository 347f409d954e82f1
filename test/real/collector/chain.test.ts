import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createSpanSender } from "../../e2e/known-spans.ts";
import { until } from "../../e2e/processes.ts";
import { startKafka, type KafkaServer } from "../parts/kafka.ts";
import { startOtelcol, type Otelcol } from "../parts/otelcol.ts";
import { startPostgres, type PostgresServer } from "../parts/postgres.ts";
import { send, startIntake } from "./intake.ts";
import { countsOf, RECORDINGS } from "./recordings.ts";

let kafka: KafkaServer;
let postgres: PostgresServer;
const directory = mkdtempSync(join(tmpdir(), "nightshift-chain-"));
beforeAll(async () => {
  [kafka, postgres] = await Promise.all([startKafka(), startPostgres()]);
});
afterAll(async () => {
  await Promise.all([kafka.close(), postgres.remove()]);
  rmSync(directory, { recursive: true });
});

const TOKEN = "not-a-token-of-anybody";

/** The stock Collector in front of our own. */
function startForward(name: string, collector: string, token: string): Promise<Otelcol> {
  return startOtelcol(["otlp.yaml", "forward.yaml"], {
    OTELCOL_STORAGE: join(directory, name),
    NIGHTSHIFT_COLLECTOR: collector,
    NIGHTSHIFT_TOKEN: token,
  });
}

test("agent, stock Collector, our collector: the same trajectories as without the stock one; a wrong token gets nothing in", async () => {
  const [direct, chained] = [await startIntake({ kafka, postgres }, "direct"), await startIntake({ kafka, postgres }, "chained")];
  const [receiver, behind] = [await direct.startReceiver(), await chained.startReceiver(TOKEN)];
  const stranger = await startForward("stranger", behind.url, "another-one");
  const stock = await startForward("chained", behind.url, TOKEN);
  for (const { signal, body } of RECORDINGS) expect(await send(stranger.url, signal, body)).toBe(200);
  await until("the stranger is refused", 20_000, () => (/Dropping data.*401/.test(stranger.tail()) ? true : null));
  expect(await chained.spanIds()).toEqual([]);

  for (const { signal, body } of RECORDINGS) {
    expect(await send(stock.url, signal, body)).toBe(200);
    expect(await send(receiver.url, signal, body)).toBe(200);
  }
  await Promise.all([direct.untilStored(countsOf(RECORDINGS)), chained.untilStored(countsOf(RECORDINGS))]);
  const learned = await direct.learned();
  expect(learned.trajectories.length).toBeGreaterThan(RECORDINGS.length / 4);
  expect(await chained.learned()).toEqual(learned);
  await Promise.all([stranger.stop(), stock.stop(), receiver.close(), behind.close(), direct.close(), chained.close()]);
});

test("brokers killed behind our collector, then the stock Collector killed with what it holds: span ids sent are span ids stored", async () => {
  const intake = await startIntake({ kafka, postgres }, "outage");
  const receiver = await intake.startReceiver(TOKEN);
  const stock = await startForward("outage", receiver.url, TOKEN);
  const sender = createSpanSender(stock.url, 1);
  const untilAccepted = (count: number) => until(`${count} accepted`, 30_000, () => (sender.accepted.size >= count ? true : null));
  await untilAccepted(20);
  await kafka.kill();
  // The agent notices nothing: what our collector answers with 503 and Retry-After lies in the stock one's queue.
  await untilAccepted(sender.accepted.size + 40);
  await until("our collector answers 503", 30_000, () => (stock.tail().includes("503") ? true : null));
  expect((await intake.spanIds()).length).toBeLessThan(sender.accepted.size);
  await stock.kill();
  await stock.restart();
  await untilAccepted(sender.accepted.size + 20);
  await kafka.restart();
  await untilAccepted(sender.accepted.size + 20);
  await sender.stop();
  await intake.untilStored({ spans: sender.accepted.size, logs: 0 });
  const stored = new Set(await intake.spanIds());
  expect([...sender.accepted].filter((id) => !stored.has(id))).toEqual([]);
  process.stdout.write(`chain: ${JSON.stringify({ acknowledged: sender.accepted.size, stored: stored.size })}\n`);
  await Promise.all([stock.stop(), receiver.close(), intake.close()]);
});
