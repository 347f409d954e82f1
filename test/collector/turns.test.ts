import { expect, test } from "vitest";
import { createTurns } from "../../collector/turns.ts";

test("who does not fit waits in order; a body larger than all room has its turn alone", async () => {
  const turns = createTurns(10);
  const order: string[] = [];
  const enter = (name: string, bytes: number) =>
    turns.take(bytes).then((end) => {
      order.push(name);
      return end;
    });
  const [a, b, large, small] = [enter("a", 6), enter("b", 4), enter("large", 50), enter("small", 1)];
  const [endA, endB] = await Promise.all([a, b]);
  expect(order).toEqual(["a", "b"]);
  endA();
  await Promise.resolve();
  expect(order).toEqual(["a", "b"]);
  endB();
  const endLarge = await large;
  expect(order).toEqual(["a", "b", "large"]);
  endLarge();
  (await small)();
  expect(order).toEqual(["a", "b", "large", "small"]);
});

test("a wait that is too long is a 503 to come back after, and blocks nobody behind it", async () => {
  const turns = createTurns(10, 20);
  const end = await turns.take(9);
  const waiting = turns.take(5);
  await expect(waiting).rejects.toMatchObject({ status: 503, retryAfterMs: 1_000 });
  (await turns.take(1))();
  end();
  (await turns.take(10))();
});
