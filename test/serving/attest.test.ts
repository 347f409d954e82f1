import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, test } from "vitest";
import { adapterReferenceSchema, decideActive, PROOF_BOUNDS, regressThroughOrigin, type ProbeToken } from "../../src/serving/attest.ts";

describe("regression through the origin", () => {
  test("hand-worked: x = 1, 2, 3 and y = 1, 2, 4", () => {
    // Σxy = 1 + 4 + 12 = 17, Σx² = 14, slope = 17/14. Residuals −3/14, −6/14, 5/14: Σr² = 70/196 = 5/14.
    // s² = (5/14) / 2 = 5/28; standard error = √(5/28/14) = √(5/392); t = (17/14) / √(5/392) = 17·√(2/5) = 10.7517…
    const { slope, t } = regressThroughOrigin([
      { x: 1, y: 1 },
      { x: 2, y: 2 },
      { x: 3, y: 4 },
    ]);
    expect(slope).toBeCloseTo(17 / 14, 12);
    expect(t).toBeCloseTo(17 * Math.sqrt(2 / 5), 10);
  });

  test("a perfect fit has an infinite t, no effect in the reference has none", () => {
    expect(
      regressThroughOrigin([
        { x: 1, y: 2 },
        { x: 2, y: 4 },
      ]),
    ).toEqual({ slope: 2, t: Number.POSITIVE_INFINITY });
    expect(
      regressThroughOrigin([
        { x: 0, y: 1 },
        { x: 0, y: 2 },
      ]).t,
    ).toBeNaN();
  });

  property.prop([
    fc.array(fc.tuple(fc.double({ min: -5, max: 5, noNaN: true }), fc.double({ min: -5, max: 5, noNaN: true })), {
      minLength: 3,
      maxLength: 40,
    }),
  ])("the slope is the least-squares one: a step to either side fits no better", (pairs) => {
    const points = pairs.map(([x, y]) => ({ x, y }));
    const { slope } = regressThroughOrigin(points);
    fc.pre(Number.isFinite(slope));
    const misfit = (s: number): number => points.reduce((sum, { x, y }) => sum + (y - s * x) ** 2, 0);
    expect(misfit(slope)).toBeLessThanOrEqual(misfit(slope + 0.01) + 1e-9);
    expect(misfit(slope)).toBeLessThanOrEqual(misfit(slope - 0.01) + 1e-9);
  });
});

/** A trained effect of sd `effect` on a base around −3, served with `gain` and noise; numbers from a fixed generator. */
function tokens(options: { count: number; effect: number; gain: number; noise: number; baseShift?: number }): ProbeToken[] {
  let state = 12_345;
  const normal = (): number => {
    // Twelve uniforms of a Lehmer generator: near enough to normal, the same everywhere.
    let sum = -6;
    for (let n = 0; n < 12; n++) {
      state = (state * 48_271) % 2_147_483_647;
      sum += state / 2_147_483_647;
    }
    return sum;
  };
  return Array.from({ length: options.count }, () => {
    const base = -3 + normal();
    const effect = options.effect * normal();
    const servedBase = base + (options.baseShift ?? 0) * normal() + options.noise * normal();
    const referenceBase = base;
    return {
      referenceBase,
      referenceAdapter: base + effect,
      servedBase,
      servedAdapter: servedBase + options.gain * effect + options.noise * normal(),
    };
  });
}

describe("the decision", () => {
  const honest = { count: 300, effect: 0.5, gain: 1, noise: 0.01 };
  test.each<[string, Parameters<typeof tokens>[0], string]>([
    ["an honest adapter", honest, "active"],
    ["a small update in the noise of bf16", { ...honest, effect: 0.02, noise: 0.02 }, "active"],
    ["the silent no-op", { ...honest, gain: 0 }, "no_effect"],
    ["a no-op behind a small update", { ...honest, gain: 0, effect: 0.02, noise: 0.02 }, "no_effect"],
    ["an adapter that was trained to nothing", { ...honest, effect: 0 }, "no_effect"],
    ["the effect turned round", { ...honest, gain: -1 }, "no_effect"],
    ["half of the scaling", { ...honest, gain: 0.5 }, "off_scale"],
    ["twice the scaling", { ...honest, gain: 2 }, "off_scale"],
    ["another base", { ...honest, baseShift: 1.5 }, "wrong_base"],
    ["a quantised base", { ...honest, baseShift: 0.15 }, "wrong_base"],
    ["too few tokens", { ...honest, count: 255 }, "too_few_probes"],
    ["just enough tokens", { ...honest, count: 256 }, "active"],
  ])("%s", (_, options, expected) => {
    const decision = decideActive(tokens(options));
    expect(decision.status === "active" ? "active" : decision.reason).toBe(expected);
  });

  test("a number that is missing refuses", () => {
    const probes = tokens(honest);
    for (const key of ["servedAdapter", "servedBase"] as const) {
      const broken = probes.map((probe, n) => (n === 7 ? { ...probe, [key]: Number.NaN } : probe));
      expect(decideActive(broken).status).toBe("refused");
    }
  });

  test("the bounds are those of the design", () => {
    expect(PROOF_BOUNDS).toEqual({ minProbeTokens: 256, minSlope: 0.8, maxSlope: 1.25, minT: 6, maxBaseGap: 0.05 });
  });
});

describe("reference.json", () => {
  const probe = { prompt_token_ids: [1, 2, 3], positions: [1, 2], adapter_logprobs: [-1, -2], base_logprobs: [-1, -3] };
  const file = (extra: object) => ({ version: 1, base_model_digest: "sha256:00", probes: [{ ...probe, ...extra }] });
  test.each<[string, object, boolean]>([
    ["as written", {}, true],
    ["position 0 has no logprob", { positions: [0, 1] }, false],
    ["a position behind the prompt", { positions: [1, 3] }, false],
    ["a logprob is missing", { base_logprobs: [-1] }, false],
    ["an unknown key", { temperature: 1 }, false],
  ])("%s", (_, extra, valid) => {
    expect(adapterReferenceSchema.safeParse(file(extra)).success).toBe(valid);
  });
});
