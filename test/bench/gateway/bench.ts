import { rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { litellm, portkey } from "./partners.ts";
import { report, type Results } from "./report.ts";
import {
  load,
  measure,
  nightshift,
  readProbe,
  scratchDirectory,
  start,
  startWorld,
  watchMachine,
  type Load,
  type Running,
  type World,
} from "./stand.ts";

/**
 * What the gateway costs: the time that it adds to a call, and calls per second of CPU beside LiteLLM's proxy and Portkey's gateway. Rounds go A B C A B C, so that
 * a machine that is busy meanwhile hits all of them. `npm run bench -- gateway [--rounds N] [--seconds S] [--without litellm,portkey]`
 */
const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "5" },
    without: { type: "string", default: "" },
  },
});
const rounds = Number(values.rounds);
const seconds = Number(values.seconds);
const without = values.without.split(",");

/** Loads under which added time is measured, beside the same load on the policy server itself. */
const TIME_LOADS: Readonly<Record<string, Load>> = {
  "answers, 500/s": { stream: false, connections: 64, rate: 500, seconds, warmupSeconds: 1 },
  "streams, 50/s": { stream: true, connections: 128, rate: 50, seconds, warmupSeconds: 1 },
};
/** Loads under which CPU is measured. The rate is one that the slowest of the three bears on one core. */
const CPU_LOADS: Readonly<Record<string, Load>> = {
  "answers, as many as it can": { stream: false, connections: 32, rate: null, seconds, warmupSeconds: 0 },
  "streams, 10/s": { stream: true, connections: 64, rate: 10, seconds, warmupSeconds: 0 },
};

const dir = scratchDirectory();
const world = await startWorld();
const running: Running[] = [];
try {
  const probeFile = join(dir, "probe.json");
  const probed = await start(await nightshift(world.url, dir, probeFile));
  running.push(probed, await start(await nightshift(world.url, dir)));
  if (!without.includes("portkey")) running.push(await start(await portkey(world.url)));
  if (!without.includes("litellm")) running.push(await start(await litellm(world.url)));
  const compared = running.filter((each) => each !== probed);
  process.stderr.write("warming up\n");
  for (const each of running) await warmUp(each);

  const foreign = watchMachine();
  const results: Results = { time: {}, cpu: {}, captured: { calls: 0, exported: 0 } };
  for (let round = 0; round < rounds; round++) {
    process.stderr.write(`round ${round + 1} of ${rounds}\n`);
    for (const [name, options] of Object.entries(TIME_LOADS))
      (results.time[name] ??= []).push(await timeOf(probed, options, { world, probeFile }));
    for (const [name, options] of Object.entries(CPU_LOADS)) {
      for (const each of compared) ((results.cpu[name] ??= {})[each.subject.name] ??= []).push(await cpuOf(each, options, results));
    }
  }
  report(
    results,
    compared.map(({ subject: { name, version } }) => ({ name, version })),
    foreign(),
  );
} finally {
  await Promise.all([world.process, ...running.map(({ process }) => process)].map((each) => each.stop("SIGTERM", 5_000)));
  rmSync(dir, { recursive: true, force: true });
}

/** Compilers and connection pools reach their steady state before anything counts. */
async function warmUp(gateway: Running): Promise<void> {
  for (const stream of [false, true]) {
    await measure(gateway, { stream, connections: 32, rate: stream ? 40 : null, seconds: 3, warmupSeconds: 0, isExact: false });
  }
}

async function timeOf(
  probed: Running,
  options: Load,
  around: { world: World; probeFile: string },
): Promise<Results["time"][string][number]> {
  const direct = await load({ ...options, isExact: true, url: `${around.world.url}/v1/chat/completions`, headers: {} });
  await readProbe(probed, around.probeFile);
  const through = await measure(probed, { ...options, isExact: true });
  return { direct, through, inside: await readProbe(probed, around.probeFile) };
}

/** Partners may write an answer's JSON anew; ours must be the policy server's bytes, and captured. */
async function cpuOf(gateway: Running, options: Load, { captured }: Results): Promise<Results["cpu"][string][string][number]> {
  const isOurs = gateway.subject.name === "nightshift";
  const before = await world.seen();
  const measured = await measure(gateway, { ...options, isExact: isOurs });
  if (isOurs) {
    captured.calls += measured.calls;
    captured.exported += (await world.seen()).exportedCalls - before.exportedCalls;
  }
  return measured;
}
