import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";

/** Has 800 MB pass through 8 MB of live objects, too slowly for them to die young, and prints how often V8 looked through all of the heap. */
const PASSING = `
import { constants, PerformanceObserver } from "node:perf_hooks";
let looks = 0;
new PerformanceObserver((list) => {
  for (const { detail } of list.getEntries()) if (detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR) looks++;
}).observe({ entryTypes: ["gc"] });
const { keepHeapSmall } = await import(process.argv[1]);
if (process.argv[2] === "small") keepHeapSmall();
const live = new Array(8);
for (let round = 0; round < 800; round++) {
  live[round % live.length] = Array.from({ length: 1_000 }, (_, index) => new Array(125).fill(round + index + 0.5));
  await new Promise(setImmediate);
}
await new Promise((resolve) => setTimeout(resolve, 50));
console.log(looks);
`;

test("this Node's V8 knows the flag, and looks for garbage more often by it", () => {
  // Threads that look while the program runs on, and a timer that has them look when it is idle, find as much as the machine lets them.
  const counted = ["--single-threaded-gc", "--no-memory-reducer", "--max-semi-space-size=2"];
  const module = new URL("../../src/app/small-heap.ts", import.meta.url).href;
  const looksOf = (size: string): number =>
    Number(
      execFileSync(process.execPath, [...counted, "--input-type=module", "--eval", PASSING, module, size], {
        encoding: "utf8",
      }),
    );
  expect(looksOf("small")).toBeGreaterThan(looksOf("usual"));
});
