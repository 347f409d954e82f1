import { afterEach, describe, expect, test } from "vitest";
import { nightshiftError } from "../../src/errors.ts";
import type { Transport, TransportRecord } from "../../src/transport/transport.ts";

/** A transport for one test, on its own topic or queue; `dispose` frees what `close` does not. */
export interface TransportUnderTest {
  transport: Transport;
  dispose?(): Promise<void>;
}

/** What every transport promises. A driver passes when a caller that repeats `retryable` loses nothing and learns of no record that was not kept. */
export function describeTransport(name: string, create: () => Promise<TransportUnderTest>): void {
  describe(`${name} is a Transport`, () => {
    const open: TransportUnderTest[] = [];
    const start = async () => {
      const created = await create();
      open.push(created);
      return created.transport;
    };
    afterEach(async () => {
      for (const under of open.splice(0)) {
        await under.transport.close();
        await under.dispose?.();
      }
    });

    test("a stored record reaches the handler as it was published", async () => {
      const transport = await start();
      const inbox = createInbox();
      await transport.subscribe(inbox.handler);
      const record = recordOf(1, { signal: "logs", encoding: "gzip", redacted: false, receivedAtMs: 1_763_725_380_123 });
      await publishUntilStored(transport, record);
      await inbox.until((seen) => seen.size === 1);
      expect(inbox.records[0]).toEqual(record);
      expect(transport.isReading()).toBe(true);
      await transport.close();
      expect(transport.isReading()).toBe(false);
    });

    test("empty and large bodies, and every byte value, survive", async () => {
      const transport = await start();
      const inbox = createInbox();
      await transport.subscribe(inbox.handler);
      const bodies = [new Uint8Array(), Uint8Array.from({ length: 256 }, (_, index) => index), new Uint8Array(900_000).fill(7)];
      for (const body of bodies) await publishUntilStored(transport, { ...recordOf(1), body, tenant: `t${body.length}` });
      await inbox.until(() => new Set(inbox.records.map((record) => record.tenant)).size === bodies.length);
      for (const body of bodies) {
        const got = inbox.records.find((record) => record.tenant === `t${body.length}`);
        expect(Buffer.from(got?.body ?? []).equals(body)).toBe(true);
      }
    });

    test("many records at once: none is lost", async () => {
      const transport = await start();
      const inbox = createInbox();
      await transport.subscribe(inbox.handler);
      const numbers = Array.from({ length: 200 }, (_, index) => index);
      await Promise.all(numbers.map((number) => publishUntilStored(transport, recordOf(number))));
      await inbox.until((seen) => seen.size === numbers.length);
    });

    test("a record whose handler fails in passing is handled again, and the others are not lost", async () => {
      const transport = await start();
      const inbox = createInbox();
      let failures = 3;
      await transport.subscribe(async (record, options) => {
        if (numberOf(record) === 2 && failures-- > 0) throw nightshiftError("store_unavailable", { problem: "restarting" });
        await inbox.handler(record, options);
      });
      await Promise.all([1, 2, 3].map((number) => publishUntilStored(transport, recordOf(number))));
      await inbox.until((seen) => seen.size === 3);
      expect(failures).toBeLessThan(0);
    });

    test("an aborted publish is retryable, not an error", async () => {
      const transport = await start();
      await transport.subscribe(createInbox().handler);
      expect(await transport.publish(recordOf(1), { signal: AbortSignal.abort() })).toMatchObject({ status: "retryable" });
    });

    test("stopping waits for the delivery under way and starts no other", async () => {
      const transport = await start();
      let finish = () => {};
      let entered = () => {};
      const underWay = new Promise<void>((resolve) => (entered = resolve));
      const held = new Promise<void>((resolve) => (finish = resolve));
      let handled = 0;
      const stop = await transport.subscribe(async () => {
        entered();
        await held;
        handled++;
      });
      const published = publishUntilStored(transport, recordOf(1));
      await underWay;
      const stopped = stop();
      finish();
      await stopped;
      expect(handled).toBe(1);
      await published;
    });

    test("after close every publish is retryable, with a time to wait", async () => {
      const transport = await start();
      await transport.subscribe(createInbox().handler);
      await transport.close();
      const result = await transport.publish(recordOf(1));
      expect(result.status).toBe("retryable");
      expect(result.status === "retryable" && result.retryAfterMs > 0).toBe(true);
    });
  });
}

export function recordOf(number: number, fields: Partial<TransportRecord> = {}): TransportRecord {
  return {
    tenant: "default",
    signal: "traces",
    body: Uint8Array.from(Buffer.from(String(number))),
    encoding: "identity",
    redacted: true,
    receivedAtMs: number,
    ...fields,
  };
}

function numberOf(record: TransportRecord): number {
  return Number(Buffer.from(record.body).toString());
}

async function publishUntilStored(transport: Transport, record: TransportRecord): Promise<void> {
  for (let attempt = 0; attempt < 50; attempt++) if ((await transport.publish(record)).status === "stored") return;
  throw new Error("never stored");
}

/** Keeps what was delivered and wakes whoever waits for it; records may come more than once. */
function createInbox() {
  const records: TransportRecord[] = [];
  const waiting = new Set<() => void>();
  const seen = () => new Set(records.map((record) => numberOf(record)));
  return {
    records,
    handler: async (record: TransportRecord, _options: { signal: AbortSignal }): Promise<void> => {
      records.push(record);
      for (const wake of waiting) wake();
    },
    until: (done: (seen: ReadonlySet<number>) => boolean): Promise<void> =>
      new Promise((resolve) => {
        const check = () => {
          if (!done(seen())) return;
          waiting.delete(check);
          resolve();
        };
        waiting.add(check);
        check();
      }),
  };
}
