import { expect, test } from "vitest";
import { nightshiftError } from "../../src/errors.ts";
import { silentLog } from "../../src/log.ts";
import { createInlineTransport } from "../../src/transport/inline.ts";
import { describeTransport, recordOf } from "../conformance/transport.ts";

describeTransport("inline", async () => ({ transport: createInlineTransport({ log: silentLog() }) }));

test("stored means that the handler has finished, not that it has begun", async () => {
  const transport = createInlineTransport({ log: silentLog() });
  const order: string[] = [];
  await transport.subscribe(async () => {
    await Promise.resolve();
    order.push("committed");
  });
  await transport.publish(recordOf(1)).then(({ status }) => order.push(status));
  expect(order).toEqual(["committed", "stored"]);
});

test("without a subscriber nothing is stored", async () => {
  const transport = createInlineTransport({ log: silentLog() });
  expect(await transport.publish(recordOf(1))).toMatchObject({ status: "retryable" });
  const stop = await transport.subscribe(async () => {});
  expect(await transport.publish(recordOf(1))).toEqual({ status: "stored" });
  await stop();
  expect(await transport.publish(recordOf(1))).toMatchObject({ status: "retryable" });
});

test("what the handler refuses for good is the publisher's error", async () => {
  const transport = createInlineTransport({ log: silentLog() });
  await transport.subscribe(async () => {
    throw nightshiftError("otlp_malformed", { where: "Span", problem: "cut off" });
  });
  await expect(transport.publish(recordOf(1))).rejects.toMatchObject({ code: "otlp_malformed" });
});
