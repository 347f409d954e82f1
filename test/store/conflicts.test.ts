import { expect, test } from "vitest";
import { repeatConflicts } from "../../src/store/conflicts.ts";

const failing = (code: string, times: number) => {
  const seen = { runs: 0 };
  const run = async (): Promise<string> => {
    seen.runs += 1;
    if (seen.runs <= times) throw Object.assign(new Error("lost"), { code });
    return "done";
  };
  return { seen, run };
};

test.each(["40001", "40P01"])("%s: run again until it wins", async (code) => {
  const { seen, run } = failing(code, 3);
  expect(await repeatConflicts(run)).toBe("done");
  expect(seen.runs).toBe(4);
});

test("one that always loses is given up, retryable", async () => {
  const { seen, run } = failing("40001", Infinity);
  await expect(repeatConflicts(run)).rejects.toMatchObject({ code: "store_unavailable", retryable: true });
  expect(seen.runs).toBe(12);
});

test("any other error is the caller's at once", async () => {
  const { seen, run } = failing("23514", Infinity);
  await expect(repeatConflicts(run)).rejects.toMatchObject({ code: "23514" });
  expect(seen.runs).toBe(1);
});

test("a key that another transaction has just taken: run again, which finds it; one that stays taken is the caller's", async () => {
  const raced = failing("23505", 1);
  expect(await repeatConflicts(raced.run)).toBe("done");
  const broken = failing("23505", Infinity);
  await expect(repeatConflicts(broken.run)).rejects.toMatchObject({ code: "23505" });
  expect(broken.seen.runs).toBe(3);
});
