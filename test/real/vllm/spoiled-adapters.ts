import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { trainerDirectory } from "../../../src/app/agent-parts.ts";
import { MANIFEST_FILE } from "../../../src/artifact/adapter.ts";
import { baseDigest } from "../../../src/artifact/base-digest.ts";
import { encodeMarker, markerOf } from "../../../src/artifact/published.ts";
import { adapterReferenceSchema } from "../../../src/serving/attest.ts";
import { copyWithOtherWeights } from "../../serving/another-base.ts";
import { MODEL, PYTHON } from "./shop-stand.ts";

const WEIGHTS = "adapter_model.safetensors";
const REFERENCE = "reference.json";

/** A copy of an adapter that the trainer published, with something wrong in it. Each writes `to` and resolves to it. */
export type Spoil = (adapter: string, to: string) => Promise<string>;

/** Every B is zero: it fits, it loads, it does nothing. */
export const withoutEffect: Spoil = (adapter, to) =>
  spoiled(adapter, to, (directory) => {
    const { header, data } = readTensors(directory);
    for (const [name, { data_offsets: offsets }] of Object.entries(header)) {
      if (name.includes("lora_B") && Array.isArray(offsets)) data.fill(0, offsets[0], offsets[1]);
    }
    writeTensors(directory, header, data);
  });

/** Its modules have the names that they have inside a larger model: vLLM finds none of them, and says nothing. */
export const misnamed: Spoil = (adapter, to) =>
  spoiled(adapter, to, (directory) => {
    const { header, data } = readTensors(directory);
    const renamed = Object.entries(header).map(([name, tensor]) => [name.replace("model.layers", "language_model.layers"), tensor]);
    writeTensors(directory, Object.fromEntries(renamed) as Header, data);
  });

/** Its reference says that it does twice what it does. */
export const boastful: Spoil = (adapter, to) =>
  spoiled(adapter, to, (directory) => {
    const file = join(directory, REFERENCE);
    const reference = adapterReferenceSchema.parse(JSON.parse(readFileSync(file, "utf8")));
    const probes = reference.probes.map((probe) => {
      const twice = probe.adapter_logprobs.map((logprob, at) => 2 * logprob - (probe.base_logprobs[at] ?? Number.NaN));
      return { ...probe, adapter_logprobs: twice };
    });
    writeFileSync(file, JSON.stringify({ ...reference, probes }));
  });

/** Its reference names the base `digest`, whichever it was made on. */
export const disguised = (digest: string, adapter: string, to: string): Promise<string> =>
  spoiled(adapter, to, (directory) => {
    const file = join(directory, REFERENCE);
    const reference = adapterReferenceSchema.parse(JSON.parse(readFileSync(file, "utf8")));
    writeFileSync(file, JSON.stringify({ ...reference, base_model_digest: digest }));
  });

/** Trained by the real trainer on the night's first batch, over a base that has other weights. Resolves to the directories of both. */
export async function ofAnotherBase(runDirectory: string, to: string): Promise<{ adapter: string; base: string }> {
  const run = `${to}-run`;
  await mkdir(run, { recursive: true });
  cpSync(join(runDirectory, "batch-1"), join(run, "batch-1"), { recursive: true });
  const config = JSON.parse(await readFile(join(runDirectory, "run.json"), "utf8")) as Record<string, object>;
  const path = copyWithOtherWeights(MODEL, `${to}-base`);
  const foreign = {
    ...config,
    ...{ iterations: 1, base_model: { path, digest: await baseDigest(path) }, logprob_gate: { max_mean_abs_delta: 1_000 } },
    // CISPO would see how far the batch is from this base, and leave the adapter as it is.
    loss: { ...config["loss"], kind: "grpo" },
  };
  await writeFile(join(run, "run.json"), JSON.stringify(foreign));
  const child = spawn(PYTHON, ["-m", "nightshift_trainer", "train", run], { cwd: trainerDirectory(), stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  child.stderr.on("data", (chunk: Buffer) => (log = (log + chunk.toString()).slice(-4_000)));
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`the trainer ended with ${code}: ${log}`);
  return { adapter: join(run, "adapter-1"), base: path };
}

/**
 * What somebody does who may write into the artifact store, and has no signing key: a digit of the reference, and the store's own list of files to match.
 * @param directory Where the adapter is published.
 */
export async function tamper(directory: string): Promise<void> {
  const file = join(directory, REFERENCE);
  const text = await readFile(file, "utf8");
  await writeFile(
    file,
    text.replace(/("adapter_logprobs":\[-\d+\.)(\d)/, (_, before: string, digit: string) => `${before}${9 - Number(digit)}`),
  );
  const names = (await readdir(directory)).filter((name) => !name.startsWith("."));
  const files = new Map(await Promise.all(names.map(async (name) => [name, await readFile(join(directory, name))] as const)));
  await writeFile(join(directory, ".published.json"), encodeMarker(markerOf(files)));
}

async function spoiled(adapter: string, to: string, spoil: (directory: string) => void): Promise<string> {
  cpSync(adapter, to, { recursive: true });
  // The trainer's own: who registers an adapter makes another.
  rmSync(join(to, MANIFEST_FILE), { force: true });
  spoil(to);
  return Promise.resolve(to);
}

type Header = Record<string, { data_offsets: [number, number] } | Record<string, string>>;

/** The format: the header's length, 8 bytes little endian; the header as JSON; then the tensors' bytes, by their offsets behind it. */
function readTensors(directory: string): { header: Header; data: Buffer } {
  const bytes = readFileSync(join(directory, WEIGHTS));
  const behind = 8 + Number(bytes.readBigUInt64LE(0));
  return { header: JSON.parse(bytes.subarray(8, behind).toString()) as Header, data: bytes.subarray(behind) };
}

function writeTensors(directory: string, header: Header, data: Buffer): void {
  const json = JSON.stringify(header);
  // Tensors begin at multiples of eight bytes.
  const text = Buffer.from(json.padEnd(8 * Math.ceil(json.length / 8)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(join(directory, WEIGHTS), Buffer.concat([length, text, data]));
}
