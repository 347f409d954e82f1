// `node test/real/kubernetes/render-examples.ts` writes helm/examples/*/rendered.yaml anew. It needs the part `helm` (`npm run test:real` fetches it).
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { chart, examples } from "../../helm/objects.ts";
import { ensurePart } from "../parts/part.ts";
import { helmPart } from "../parts/helm.ts";
import { render } from "./chart-files.ts";

const say = (line: string): void => void process.stdout.write(`${line}\n`);
await ensurePart(helmPart, say);
for (const example of examples) {
  writeFileSync(join(chart, "examples", example, "rendered.yaml"), await render(example));
  say(`helm/examples/${example}/rendered.yaml`);
}
