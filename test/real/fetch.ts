import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { removeGoCache } from "./parts/go.ts";
import { kafkaPart } from "./parts/kafka.ts";
import { otelcolPart } from "./parts/otelcol.ts";
import { PartError, partPlace, type Part } from "./parts/part.ts";
import { postgresPart } from "./parts/postgres.ts";
import { s3Part } from "./parts/s3.ts";
import { vllmPart } from "./parts/vllm.ts";

/** What `npm run test:real` fetches, in this order. `node test/real/fetch.ts [NAME…]`: only these; exit code 1 when one cannot be had. */
const PARTS: readonly Part[] = [kafkaPart, postgresPart, otelcolPart, s3Part, vllmPart];

const say = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

const wanted = process.argv.slice(2);
for (const part of PARTS) {
  if (wanted.length > 0 && !wanted.includes(part.name)) continue;
  try {
    await ensurePart(part);
  } catch (error) {
    if (!(error instanceof PartError)) throw error;
    say(`FAIL ${part.name} ${part.version}: ${error.message}`);
    process.exitCode = 1;
  }
}

// Only once all is there: what failed goes on from it.
if (process.exitCode === undefined) removeGoCache();

/** A fetch that was interrupted left no marker: it starts again from nothing. */
async function ensurePart(part: Part): Promise<void> {
  const { dir, marker } = partPlace(part);
  const title = `${part.name} ${part.version}`;
  if (existsSync(marker)) return say(`ok   ${title} (in the cache)`);
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true });
  const started = performance.now();
  say(`     ${title}: fetching, about ${part.sizeMb} MB`);
  await part.fetch(dir, (line) => say(`     ${title}: ${line}`));
  writeFileSync(marker, `${new Date().toISOString()}\n`);
  return say(`ok   ${title} (fetched in ${((performance.now() - started) / 1000).toFixed(1)} s)`);
}
