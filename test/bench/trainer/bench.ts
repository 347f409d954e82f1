import { mkdtempSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { runTool } from "../../real/parts/part.ts";
import { FIX, fetched } from "../fetched.ts";
import { median, quantiles } from "../quantiles.ts";
import { SHAPES, stepFlops } from "./ideal.ts";

/**
 * A step of our trainer with packing, without it, and of TRL's GRPOTrainer, on the same ids, advantages, LoRA, dtype and checkpointing. Prints a table and, as the last
 * line, its JSON. `node test/bench/trainer/bench.ts [prefixes, such as 512,2048,8192] [steps] [cpu|gpu] [threads]`
 */
const TRL = "trl==1.9.0";
const ROOT = resolve(import.meta.dirname, "../../..");
const OWN = 256;
const MEMBERS = 8;
const WARM_UP = 1;
const BARS: Record<string, Record<number, number>> = { cpu: { 512: 2, 2048: 4.5, 8192: 7 }, gpu: { 512: 1.5, 2048: 3, 8192: 5 } };
const IDEAL_SHARE = 0.85;
const MEMORY_BAR = 0.4;
const MEMORY_BAR_ALONE = 1.3;
const COSINE_BAR = 0.999;

type Side = "nightshift" | "padded" | "trl";
interface Measured {
  seconds: number[];
  peak_bytes: number;
  physical_tokens: number;
}

const [prefixes = "512,2048,8192", steps = "10", shape = "cpu", threads = "2"] = process.argv.slice(2);
if (shape !== "cpu" && shape !== "gpu") throw new RangeError(`the shape is cpu or gpu, received ${shape}`);
const folder = mkdtempSync(join(tmpdir(), "nightshift-trainer-"));
const trl = await trlEnvironment();
try {
  const results = [];
  for (const prefix of prefixes.split(",").map(Number)) results.push(await compare(prefix));
  const bars = results.flatMap(({ bars }) => bars);
  const machine = { cpu: cpus()[0]?.model ?? "unknown", cores: cpus().length, threads: Number(threads), node: process.version };
  say(JSON.stringify({ bench: "trainer", machine, partner: { name: "trl", version: TRL.slice(5) }, shape, bars, results }, rounded));
} finally {
  rmSync(folder, { recursive: true });
}

async function compare(prefix: number) {
  say(`\nprefix ${prefix}, ${MEMBERS} members of ${OWN} own tokens, ${shape} shape`);
  say(`${"".padEnd(26)}${"median s".padStart(10)}${"p90 s".padStart(10)}${"peak MB".padStart(10)}${"tokens".padStart(10)}`);
  const ours = await measure("nightshift", prefix, MEMBERS);
  const padded = await measure("padded", prefix, MEMBERS);
  const theirs = await measure("trl", prefix, MEMBERS);
  const alone = await measure("trl", prefix, 1);
  const flops = stepFlops(SHAPES[shape as "cpu" | "gpu"], { prefix, own: OWN, members: MEMBERS });
  const ideal = flops.padded / flops.packed;
  const speedUp = median(theirs.seconds) / median(ours.seconds);
  const packing = median(padded.seconds) / median(ours.seconds);
  const memory = ours.peak_bytes / theirs.peak_bytes;
  const memoryAlone = ours.peak_bytes / alone.peak_bytes;
  const { cosine } = await gradients("nightshift", "trl");
  const own = await gradients("nightshift", "padded");
  say(
    `FLOP-ideal ${ideal.toFixed(2)}x; packing ${packing.toFixed(2)}x (${((100 * packing) / ideal).toFixed(0)} % of it); TRL ${speedUp.toFixed(2)}x`,
  );
  say(
    `memory ${memory.toFixed(2)}x of TRL's, ${memoryAlone.toFixed(2)}x of its with one row at once; gradient's cosine with TRL's ${cosine.toFixed(6)}`,
  );
  const bars = [
    bar(`step time, TRL over ours, prefix ${prefix}`, speedUp, BARS[shape]?.[prefix] ?? 1, ">="),
    bar(`share of the FLOP-ideal gain by packing, prefix ${prefix}`, packing / ideal, IDEAL_SHARE, ">="),
    bar(`gradient's cosine with TRL's, prefix ${prefix}`, cosine, COSINE_BAR, ">="),
    ...(prefix === 8192
      ? [
          bar("peak memory over TRL's", memory, MEMORY_BAR, "<="),
          bar("over TRL's with one row at once", memoryAlone, MEMORY_BAR_ALONE, "<="),
        ]
      : []),
  ];
  for (const { what, bar: wanted, value, holds } of bars) say(`${holds ? "holds " : "MISSED"} ${what}: ${value.toFixed(3)}, bar ${wanted}`);
  const of = ({ seconds, peak_bytes }: Measured) => ({
    median: median(seconds),
    p90: quantiles(seconds).p90,
    peakBytes: peak_bytes,
    steps: seconds.length,
  });
  return {
    ...{ prefix, own: OWN, members: MEMBERS, ideal, packing, speedUp, memory, memoryAlone, cosine, packedToPadded: own.relative, bars },
    ...{ nightshift: of(ours), padded: of(padded), trl: of(theirs), trlOneRow: of(alone) },
  };
}

async function measure(side: Side, prefix: number, microBatch: number): Promise<Measured> {
  const work = { shape, prefix, own: OWN, members: MEMBERS, micro_batch: microBatch };
  const python = side === "trl" ? trl : join(ROOT, ".venv/bin/python");
  const file = microBatch === MEMBERS ? join(folder, side) : join(folder, "unused");
  const args = [join(import.meta.dirname, "side.py"), side, JSON.stringify(work), String(WARM_UP), steps, threads, file];
  const output = await runTool(python, args, {
    env: { PYTHONPATH: join(ROOT, "trainer"), HF_HUB_OFFLINE: "1", TRL_EXPERIMENTAL_SILENCE: "1", PYTHONWARNINGS: "ignore" },
    problem: `${side} could not be measured`,
    fix: "look at what it says above; with too little memory, leave the longest prefix out",
  });
  const measured = JSON.parse(output.trim().split("\n").at(-1) ?? "") as Measured;
  const name = microBatch === MEMBERS ? side : `${side}, ${microBatch} row at once`;
  const cells = [
    median(measured.seconds).toFixed(2),
    quantiles(measured.seconds).p90.toFixed(2),
    (measured.peak_bytes / 2 ** 20).toFixed(0),
  ];
  say(`${name.padEnd(26)}${[...cells, String(measured.physical_tokens)].map((cell) => cell.padStart(10)).join("")}`);
  return measured;
}

async function gradients(a: Side, b: Side): Promise<{ cosine: number; relative: number }> {
  const args = [join(import.meta.dirname, "gradients.py"), join(folder, a), join(folder, b)];
  return JSON.parse(await runTool(trl, args, { problem: "the gradients cannot be compared", fix: "see above" })) as {
    cosine: number;
    relative: number;
  };
}

/** A Python of its own: TRL with the very torch, transformers and PEFT that our trainer has. */
async function trlEnvironment(): Promise<string> {
  const dir = await fetched("trl-1.9.0", async (dir) => {
    const uv = join(ROOT, ".cache/uv/bin/uv");
    const python = join(dir, "venv/bin/python");
    await runTool(uv, ["venv", "--python", join(ROOT, ".venv/bin/python"), join(dir, "venv")], {
      problem: "no Python environment for TRL",
      fix: FIX,
    });
    const same = ["--constraint", join(ROOT, "trainer/requirements.txt"), "--only-binary", ":all:"];
    const wanted = [TRL, "torch", "transformers", "peft", "pydantic", "requests"];
    await runTool(uv, ["pip", "install", "--quiet", "--python", python, ...same, ...wanted], {
      problem: "TRL cannot be installed",
      fix: FIX,
    });
  });
  return join(dir, "venv/bin/python");
}

function bar(what: string, value: number, limit: number, sign: ">=" | "<=") {
  return { what, bar: `${sign} ${limit}`, value, holds: sign === ">=" ? value >= limit : value <= limit };
}

function rounded(_: string, value: unknown): unknown {
  return typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(5)) : value;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
