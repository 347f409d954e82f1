import type { AdapterReference } from "../../src/serving/attest.ts";
import type { PolicyServer } from "../../src/serving/policy-server.ts";

/** A reference as the trainer would write it, from the server's own numbers. */
export async function measuredReference(policy: PolicyServer, adapter: string, base: string): Promise<AdapterReference> {
  const probes = [];
  for (let n = 0; n < 4; n++) {
    const ids = Array.from({ length: 66 }, (_, index) => 5 + ((index * (7 + 2 * n) + 13 * n) % 400));
    const positions = Array.from({ length: 65 }, (_, index) => index + 1);
    const score = async (model: string): Promise<number[]> => {
      const result = await policy.promptLogprobs({ model, promptTokenIds: ids, cacheSalt: "reference" });
      if (result.status !== "completed") throw result.error;
      return positions.map((position) => result.logprobs[position] ?? Number.NaN);
    };
    probes.push({ prompt_token_ids: ids, positions, adapter_logprobs: await score(adapter), base_logprobs: await score(base) });
  }
  return { version: 1, base_model_digest: "sha256:0", probes };
}
