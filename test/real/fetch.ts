import { removeGoCache } from "./parts/go.ts";
import { helmPart } from "./parts/helm.ts";
import { inferenceExtensionPart } from "./parts/inference-extension.ts";
import { kafkaPart } from "./parts/kafka.ts";
import { kubernetesPart } from "./parts/kubernetes.ts";
import { otelcolPart } from "./parts/otelcol.ts";
import { ensurePart, PartError, type Part } from "./parts/part.ts";
import { postgresPart } from "./parts/postgres.ts";
import { prometheusPart } from "./parts/prometheus.ts";
import { s3Part } from "./parts/s3.ts";
import { vllmPart } from "./parts/vllm.ts";

/** What `npm run test:real` fetches, in this order. `node test/real/fetch.ts [NAME…]`: only these; exit code 1 when one cannot be had. */
const PARTS: readonly Part[] = [
  ...[kafkaPart, postgresPart, helmPart, inferenceExtensionPart],
  ...[otelcolPart, s3Part, prometheusPart, vllmPart, kubernetesPart],
];

const say = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

const wanted = process.argv.slice(2);
for (const part of PARTS) {
  if (wanted.length > 0 && !wanted.includes(part.name)) continue;
  try {
    await ensurePart(part, say);
  } catch (error) {
    if (!(error instanceof PartError)) throw error;
    say(`FAIL ${part.name} ${part.version}: ${error.message}`);
    process.exitCode = 1;
  }
}

// Only once all is there: what failed goes on from it.
if (process.exitCode === undefined) removeGoCache();
