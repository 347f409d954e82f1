import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { z } from "zod";
import { modelRewriteDefinition } from "../parts/inference-extension.ts";

const GROUP = "llm-d.ai";
const definitionSchema = z.looseObject({
  metadata: z.object({ name: z.string() }),
  spec: z.looseObject({ group: z.string(), names: z.looseObject({ plural: z.string() }) }),
});

/**
 * The definition of llm-d's InferenceModelRewrite (`llm-d.ai/v1alpha2`). llm-d's own module is in no registry here; the kind came to it from the Gateway API's inference extension, whose
 * definition differs from llm-d's (as of August 2026) in its group alone: schema, defaults, version and status are the same to the letter.
 */
export function modelRewriteCrd(): object {
  const { status: _, ...published } = definitionSchema.parse(parse(readFileSync(modelRewriteDefinition(), "utf8")));
  return { ...published, metadata: { name: `${published.spec.names.plural}.${GROUP}` }, spec: { ...published.spec, group: GROUP } };
}
