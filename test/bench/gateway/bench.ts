import { rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { litellm, portkey } from "./partners.ts";
import { report, type Results, type Timed } from "./report.ts";
import { keepAwake, scratchDirectory, watchMachine } from "../machine.ts";
import { bare, load, measure, nightshift, readProbe, start, startWorld, type Load, type Running } from "./stand.ts";

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

/** Ours still compiled after three. */
const WARM_UP_SECONDS = 8;

const dir = scratchDirectory();
const world = await startWorld();
const running: Running[] = [];
const spinning = await keepAwake();
try {
  const probeFile = join(dir, "probe.json");
  const bareFile = join(dir, "bare-probe.json");
  const probed = await start(await nightshift(world.url, dir, probeFile));
  const floor = await start(await bare(world.url, bareFile));
  running.push(probed, floor, await start(await nightshift(world.url, dir)));
  if (!without.includes("portkey")) running.push(await start(await portkey(world.url)));
  if (!without.includes("litellm")) running.push(await start(await litellm(world.url)));
  const compared = running.filter((each) => each !== probed && each !== floor);
  process.stderr.write("warming up\n");
  for (const each of running) await warmUp(each);

  const foreign = watchMachine();
  const results: Results = { time: {}, cpu: {}, captured: { calls: 0, exported: 0 } };
  for (let round = 0; round < rounds; round++) {
    process.stderr.write(`round ${round + 1} of ${rounds}\n`);
    for (const [name, options] of Object.entries(TIME_LOADS)) {
      const direct = await load({ ...options, isExact: true, url: `${world.url}/v1/chat/completions`, headers: {} });
      const least = await timeOf(floor, options, bareFile);
      (results.time[name] ??= []).push({ direct, bare: least, ...(await timeOf(probed, options, probeFile)) });
    }
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
  await Promise.all([world.process, ...spinning, ...running.map(({ process }) => process)].map((each) => each.stop("SIGTERM", 5_000)));
  rmSync(dir, { recursive: true, force: true });
}

/** Compilers and connection pools reach their steady state before anything counts. */
async function warmUp(gateway: Running): Promise<void> {
  for (const stream of [false, true]) {
    await measure(gateway, {
      stream,
      connections: 32,
      rate: stream ? 40 : null,
      seconds: WARM_UP_SECONDS,
      warmupSeconds: 0,
      isExact: false,
    });
  }
}

/** What the client saw of a gateway, and its probe. */
async function timeOf(gateway: Running, options: Load, probeFile: string): Promise<Timed> {
  await readProbe(gateway, probeFile);
  const through = await measure(gateway, { ...options, isExact: true });
  return { through, inside: await readProbe(gateway, probeFile) };
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
