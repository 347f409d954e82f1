/** The model's shape as far as arithmetic goes; the same figures as in `workload.py`. */
export interface Shape {
  hidden: number;
  intermediate: number;
  layers: number;
  heads: number;
  keyValueHeads: number;
  headDim: number;
  vocabulary: number;
}

export const SHAPES: Record<"cpu" | "gpu", Shape> = {
  cpu: { hidden: 512, intermediate: 1536, layers: 4, heads: 8, keyValueHeads: 4, headDim: 64, vocabulary: 4096 },
  gpu: { hidden: 1024, intermediate: 3072, layers: 28, heads: 16, keyValueHeads: 8, headDim: 128, vocabulary: 151_936 },
};

/** Passes with layers computed again: forward twice and, the base being frozen, the gradient of the input only. */
const LINEAR_PASSES = 3;
/** Attention's backward pass costs two and a half of its forward passes. */
const ATTENTION_PASSES = 4.5;

/** Floating point operations of a step over `members` rows of `prefix` shared and `own` sampled tokens, packed and row by row. */
export function stepFlops(shape: Shape, work: { prefix: number; own: number; members: number }): { packed: number; padded: number } {
  const { prefix, members } = work;
  const own = work.own - 1; // the last token predicts nothing
  const length = prefix + own;
  const ownAttention = triangle(length) - triangle(prefix);
  const head = 2 * LINEAR_PASSES * shape.hidden * shape.vocabulary * work.own * members;
  return {
    packed: head + flops(shape, prefix + members * own, triangle(prefix) + members * ownAttention),
    padded: head + flops(shape, members * length, members * triangle(length)),
  };
}

/** `pairs` of a query and a key that it sees. */
function flops(shape: Shape, tokens: number, pairs: number): number {
  const { hidden, intermediate, heads, keyValueHeads, headDim } = shape;
  const weights = hidden * headDim * (2 * heads + 2 * keyValueHeads) + 3 * hidden * intermediate;
  return shape.layers * (2 * LINEAR_PASSES * weights * tokens + 4 * ATTENTION_PASSES * heads * headDim * pairs);
}

function triangle(n: number): number {
  return (n * (n + 1)) / 2;
}
