import { describe, expect, it } from "vitest";
import { latencyOf } from "../../src/rollout/latency.ts";
import { cascadeFor, conversation, lookup, play, refund } from "./build.ts";
import { startOfTrajectory } from "../../src/rollout/start.ts";

const tape = conversation("t1", [lookup("A1"), refund("A1")]);

describe("latencyOf", () => {
  const cascade = cascadeFor([tape]);
  const call = cascade.prepare(startOfTrajectory(tape), "lookup_order", { order_id: "A1" });
  const withTimes = (p50: number, p95: number, samples = 20) => ({
    ...call,
    profile: { ...call.profile, latencyMs: { p50, p95, samples } },
  });

  it("is the recorded answer's own time", () => {
    expect(latencyOf(cascade.pool, call, { servedFrom: { tape: "t1@1", entry: 0 } }, [1])).toBe(10);
  });

  it("is drawn around the tool's median otherwise, and always the same for one seed", () => {
    const draws = Array.from({ length: 2_000 }, (_, seed) => latencyOf(cascade.pool, withTimes(100, 400), { servedFrom: null }, [seed]));
    const sorted = draws.toSorted((a, b) => a - b);
    // ln(400 / 100) / 1.645 = 0.843: half below 100 ms, one in twenty above 400 ms.
    expect(sorted[1_000]).toBeGreaterThan(90);
    expect(sorted[1_000]).toBeLessThan(111);
    expect(draws.filter((ms) => ms > 400).length / draws.length).toBeCloseTo(0.05, 1.5);
    expect(Math.max(...draws)).toBeLessThanOrEqual(Math.round(100 * Math.exp(3 * 0.8428)));
    expect(latencyOf(cascade.pool, withTimes(100, 400), { servedFrom: null }, [7])).toBe(draws[7]);
  });

  it("is nothing for a tool that nobody recorded, and the median where it never varied", () => {
    expect(latencyOf(cascade.pool, withTimes(0, 0, 0), { servedFrom: null }, [1])).toBe(0);
    expect(latencyOf(cascade.pool, withTimes(80, 80), { servedFrom: null }, [1])).toBe(80);
  });

  it("does not change what is answered", () => expect(play(cascade, tape, [lookup("A1")])[0]?.rung).toBe("R1"));
});
