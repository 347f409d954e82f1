import { fc, test } from "@fast-check/vitest";
import { afterAll, beforeAll, describe, expect } from "vitest";
import { echo, startUpstream } from "./fake-upstream.ts";
import { startGateway } from "./gateway-fixture.ts";

let upstream: Awaited<ReturnType<typeof startUpstream>>;
let gateway: Awaited<ReturnType<typeof startGateway>>;
beforeAll(async () => {
  upstream = await startUpstream(echo);
  gateway = await startGateway({ upstreams: [upstream] });
});
afterAll(async () => {
  await gateway.close();
  await upstream.close();
});

/** Keys and text that look like the key that is rewritten, or end in the bytes that end strings. */
const text = fc.oneof(
  fc.constantFrom("model", '"model":"x"', '"', "\\", '\\"', '\\\\"', "}{", "mod\u00e9l"),
  fc.string({ unit: "binary" }),
);
const value = fc.letrec((tie) => ({
  any: fc.oneof(
    { depthSize: "small" },
    text,
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.constant(null),
    tie("list"),
    tie("object"),
  ),
  list: fc.array(tie("any"), { maxLength: 4 }),
  object: fc.dictionary(text, tie("any"), { maxKeys: 4, noNullPrototype: true }),
})).object;

describe("a body", () => {
  test.prop([value, value, fc.constantFrom(undefined, 2)], { numRuns: 150 })(
    "reaches the policy server with another model name and nothing else changed",
    async (before, after, indent) => {
      const { model: _one, ...first } = before;
      const { model: _two, ...last } = after;
      const asked = JSON.stringify({ ...first, model: "shop-model", ...last }, null, indent);
      await (await fetch(`${gateway.url}/v1/completions`, { method: "POST", body: asked })).arrayBuffer();
      const wanted = JSON.stringify({ ...first, model: "base", ...last }, null, indent);
      expect(upstream.seen.pop()?.text).toBe(wanted);
    },
  );
});
