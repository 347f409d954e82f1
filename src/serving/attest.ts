import { z } from "zod";
import type { NightshiftError } from "../errors.ts";
import type { PolicyServer } from "./policy-server.ts";

const probeSchema = z
  .strictObject({
    prompt_token_ids: z.array(z.int().nonnegative()).min(2),
    /** Which prompt tokens count, by index; 0 has no logprob. */
    positions: z.array(z.int().positive()).min(1),
    adapter_logprobs: z.array(z.number()),
    base_logprobs: z.array(z.number()),
  })
  .refine(
    (p) =>
      p.adapter_logprobs.length === p.positions.length &&
      p.base_logprobs.length === p.positions.length &&
      p.positions.every((position) => position < p.prompt_token_ids.length),
    { error: "positions and logprobs do not fit together" },
  );

/** `reference.json`: what the trainer computed for its probe prompts, with the adapter and without. Logprobs at temperature 1. */
export const adapterReferenceSchema = z.strictObject({
  version: z.literal(1),
  base_model_digest: z.string(),
  probes: z.array(probeSchema).min(1),
});
export type AdapterReference = z.infer<typeof adapterReferenceSchema>;

/** One probe token, seen by the trainer and by the server. Logprobs in nats. */
export interface ProbeToken {
  referenceAdapter: number;
  referenceBase: number;
  servedAdapter: number;
  servedBase: number;
}

export interface ProofBounds {
  minProbeTokens: number;
  minSlope: number;
  maxSlope: number;
  /** The slope's t value must be above it: slope / standard error. */
  minT: number;
  /** Bound on mean |served base − reference base|, nats. Another bf16 kernel moves it by about 0.01, a 4-bit base by more than 0.1, another base by 1 and more. */
  maxBaseGap: number;
}

/** What "active" means: the served effect is the trained effect, on the base that it was trained on. */
export const PROOF_BOUNDS: Readonly<ProofBounds> = { minProbeTokens: 256, minSlope: 0.8, maxSlope: 1.25, minT: 6, maxBaseGap: 0.05 };

/** What was measured. Infinity in `t` means a perfect fit; NaN in `slope` and `t` means that there was nothing to fit. */
export interface ProofFigures {
  probeTokens: number;
  slope: number;
  t: number;
  baseGap: number;
}

export type ProofDecision =
  | { status: "active"; figures: ProofFigures }
  | {
      status: "refused";
      /** First that applies: too_few_probes; wrong_base; no_effect: t too small, or an adapter that does nothing; off_scale: a slope outside the bounds. */
      reason: "too_few_probes" | "wrong_base" | "no_effect" | "off_scale";
      figures: ProofFigures;
    };

export type ProofResult =
  | ProofDecision
  | { status: "retryable"; retryAfterMs: number; error: NightshiftError }
  | { status: "rejected"; error: NightshiftError };

/**
 * Least squares through the origin of y on x: slope = Σxy / Σx², standard error = √(Σ(y − slope·x)² / (n − 1) / Σx²), t = slope / standard error.
 * Through the origin, because without an adapter both differences are 0: a constant shift of the server is misfit, not effect.
 */
export function regressThroughOrigin(points: readonly { x: number; y: number }[]): { slope: number; t: number } {
  let xx = 0;
  let xy = 0;
  for (const { x, y } of points) {
    xx += x * x;
    xy += x * y;
  }
  if (points.length < 2 || xx === 0) return { slope: Number.NaN, t: Number.NaN };
  const slope = xy / xx;
  let residual = 0;
  for (const { x, y } of points) residual += (y - slope * x) ** 2;
  return { slope, t: slope / Math.sqrt(residual / (points.length - 1) / xx) };
}

/** Whether a replica serves this adapter, from its numbers alone. */
export function decideActive(tokens: readonly ProbeToken[], bounds: Readonly<ProofBounds> = PROOF_BOUNDS): ProofDecision {
  const { slope, t } = regressThroughOrigin(
    tokens.map((token) => ({ x: token.referenceAdapter - token.referenceBase, y: token.servedAdapter - token.servedBase })),
  );
  const baseGap = tokens.reduce((sum, token) => sum + Math.abs(token.servedBase - token.referenceBase), 0) / tokens.length;
  const figures = { probeTokens: tokens.length, slope, t, baseGap };
  const refuse = (reason: (ProofDecision & { status: "refused" })["reason"]): ProofDecision => ({ status: "refused", reason, figures });
  if (tokens.length < bounds.minProbeTokens) return refuse("too_few_probes");
  // Written so that NaN refuses.
  if (!(baseGap <= bounds.maxBaseGap)) return refuse("wrong_base");
  if (!(t > bounds.minT)) return refuse("no_effect");
  if (!(slope >= bounds.minSlope && slope <= bounds.maxSlope)) return refuse("off_scale");
  return { status: "active", figures };
}

/**
 * Collects the served logprobs of every probe with the adapter and with the base, and decides. `cacheSalt` must be fresh for every proof:
 * a prefix cache keyed by the adapter's name would otherwise answer from before a reload. Rejects only when `signal` aborts.
 */
export async function proveActive(
  server: PolicyServer,
  proof: { baseModel: string; adapterName: string; reference: AdapterReference; cacheSalt: string; bounds?: Readonly<ProofBounds> },
  options?: { signal?: AbortSignal },
): Promise<ProofResult> {
  const tokens: ProbeToken[] = [];
  for (const probe of proof.reference.probes) {
    const ask = (model: string) =>
      server.promptLogprobs({ model, promptTokenIds: probe.prompt_token_ids, cacheSalt: proof.cacheSalt }, options);
    const [adapter, base] = await Promise.all([ask(proof.adapterName), ask(proof.baseModel)]);
    if (adapter.status !== "completed") return adapter;
    if (base.status !== "completed") return base;
    for (const [index, position] of probe.positions.entries()) {
      tokens.push({
        referenceAdapter: probe.adapter_logprobs[index] ?? Number.NaN,
        referenceBase: probe.base_logprobs[index] ?? Number.NaN,
        servedAdapter: adapter.logprobs[position] ?? Number.NaN,
        servedBase: base.logprobs[position] ?? Number.NaN,
      });
    }
  }
  return decideActive(tokens, proof.bounds ?? PROOF_BOUNDS);
}
