const SUFFIXES: Readonly<Record<string, number>> = {
  ...{ "": 1, m: 1e-3, k: 1e3, M: 1e6, G: 1e9, T: 1e12 },
  ...{ Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40 },
};

/** Of a quantity as Kubernetes writes it, such as `500m` or `2Gi`: the number in its unit, bytes or cores. */
export function quantity(text: string): number {
  const [, digits, suffix = ""] = /^([\d.]+)(\D*)$/.exec(text) ?? [];
  const factor = SUFFIXES[suffix];
  if (digits === undefined || factor === undefined) throw new Error(`${text} is no quantity`);
  return Number(digits) * factor;
}
