import { mulberry } from "./canary/simulate.ts";

/** Every connection sends its next request when the last was answered, until `endMs`; times of `performance.now()`. */
export async function closedLoop(connections: number, endMs: number, send: (dueMs: number) => Promise<void>): Promise<void> {
  const connection = async () => {
    while (performance.now() < endMs) await send(performance.now());
  };
  await Promise.all(Array.from({ length: connections }, connection));
}

/**
 * Requests are sent when they are due, whether or not earlier ones were answered, so that a server that stalls is not spared those that would have met the stall.
 * @param rate per second; the arrivals are Poisson, from one seed
 */
export async function openLoop(rate: number, endMs: number, send: (dueMs: number) => Promise<void>): Promise<void> {
  const random = mulberry(7);
  const running = new Set<Promise<void>>();
  let dueMs = performance.now();
  while (dueMs < endMs) {
    if (dueMs > performance.now()) {
      await new Promise((resolve) => {
        setTimeout(resolve, 1);
      });
      continue;
    }
    const over: Promise<void> = send(dueMs).then(() => void running.delete(over));
    running.add(over);
    dueMs += (-Math.log(1 - random()) / rate) * 1_000;
  }
  await Promise.all(running);
}
