import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { runGo } from "./go.ts";
import { partDirectory, type Part } from "./part.ts";

/** The last release that has the definition of InferenceModelRewrite. */
const VERSION = "1.5.0";
const MODULE = `sigs.k8s.io/gateway-api-inference-extension@v${VERSION}`;
const REWRITES = "inference.networking.x-k8s.io_inferencemodelrewrites.yaml";

/** Definitions of the Gateway API's inference extension, as it publishes them in its Go module. Nothing is compiled. */
export const inferenceExtensionPart: Part = {
  name: "inference-extension",
  version: VERSION,
  sizeMb: 1,
  async fetch(dir, say) {
    const fix = "install Go 1.24 or newer and check the network, then run the command again";
    say(`the definitions of ${MODULE}`);
    const options = { cwd: dir, bin: dir, problem: `${MODULE} cannot be fetched`, fix };
    const { Dir } = z.object({ Dir: z.string() }).parse(JSON.parse(await runGo(["mod", "download", "-json", MODULE], options)));
    copyFileSync(join(Dir, "config/crd/bases", REWRITES), join(dir, REWRITES));
  },
};

/** Path of InferenceModelRewrite's definition, under the group that it had before it went to llm-d. @throws PartError when it was not fetched */
export function modelRewriteDefinition(): string {
  return join(partDirectory(inferenceExtensionPart), REWRITES);
}
