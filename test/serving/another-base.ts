import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";

const headerSchema = z.record(
  z.string(),
  z.object({ dtype: z.string(), data_offsets: z.tuple([z.number(), z.number()]) }).or(z.record(z.string(), z.string())),
);
/** Every answer hangs on it, and it is small. */
const TENSOR = "model.norm.weight";

/** A copy of the model in `directory` that is sound to every loader and answers other things: its last norm has the other sign. Resolves to `directory`. */
export function copyWithOtherWeights(model: string, directory: string): string {
  cpSync(model, directory, { recursive: true });
  const file = join(directory, "model.safetensors");
  const bytes = readFileSync(file);
  // The format: the header's length, 8 bytes little endian; the header as JSON; then the tensors' bytes, by their offsets behind it.
  const headerBytes = Number(bytes.readBigUInt64LE(0));
  const header = headerSchema.parse(JSON.parse(bytes.subarray(8, 8 + headerBytes).toString()));
  const tensor = header[TENSOR];
  if (tensor === undefined || !Array.isArray(tensor["data_offsets"])) throw new Error(`${file} has no ${TENSOR}`);
  const width = tensor["dtype"] === "F32" ? 4 : 2;
  const [start, end] = tensor["data_offsets"];
  for (let at = start + width - 1; at < end; at += width) {
    const place = 8 + headerBytes + at;
    bytes[place] = (bytes[place] ?? 0) ^ 0x80;
  }
  writeFileSync(file, bytes);
  return directory;
}
