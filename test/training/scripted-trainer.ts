import { appendFileSync, chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/**
 * A trainer that does what the run's file `plan` says for this start, a word each: an exit code; `publish`: adapter-1, then 0; `wait`: beats until SIGTERM (143), or
 * until there is a file `go` (0); `stuck`: one beat, then nothing, SIGTERM included; `oom`: takes memory until it is killed; `keep`: says how many files `--cache` holds and leaves one more, then 0.
 * Whoever starts while another works says so.
 */
const TRAINER = `
import fcntl, hashlib, json, os, pathlib, signal, sys, time
run = pathlib.Path(sys.argv[2])
log = (run / "log").open("a", buffering=1)
plans = (run / "plan").read_text().split()
starts = (run / "log").read_text().count("start")
plan = plans[min(starts, len(plans) - 1)]
lock = (run / "lock").open("w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    log.write("clash\\n")
log.write("start\\n")

def stop(*_):
    log.write("term\\n")
    if plan != "stuck":
        log.write("end\\n")
        os._exit(143)

signal.signal(signal.SIGTERM, stop)

def beat(phase):
    text = {"heartbeat": str(time.time()), "phase": phase, "iteration": 1, "step": 0, "outcome": None}
    (run / ".status").write_text(json.dumps(text))
    (run / ".status").rename(run / "status.json")

beat("training")
if plan == "publish":
    (run / "adapter-1").mkdir()
    (run / "adapter-1" / "weights").write_text("w")
    digest = "sha256:" + hashlib.sha256(b"w").hexdigest()
    (run / "adapter-1" / "manifest.json").write_text(json.dumps({"files": {"weights": {"sha256": digest, "bytes": 1}}}))
elif plan == "keep":
    cache = pathlib.Path(sys.argv[sys.argv.index("--cache") + 1])
    cache.mkdir(parents=True, exist_ok=True)
    log.write(f"found {len(list(cache.iterdir()))}\\n")
    (cache / str(time.time_ns())).write_text("kept")
elif plan == "oom":
    held = []
    while True:
        held.append(bytearray(b"x" * 2**24))
elif plan.isdecimal():
    log.write("end\\n")
    print(f"error: what ends in {plan}", file=sys.stderr, flush=True)
    sys.exit(int(plan))
while plan in ("stuck", "wait"):
    if plan == "wait":
        beat("waiting")
        if (run / "go").exists():
            break
    time.sleep(0.05)
log.write("end\\n")
`;

/** Writes the package `nightshift_trainer` below a directory, which then is its trainer's. */
export function writeScriptedTrainer(directory: string): void {
  const at = join(directory, "nightshift_trainer");
  mkdirSync(at, { recursive: true });
  writeFileSync(join(at, "__main__.py"), TRAINER);
}

/** A run directory of such a trainer. */
export interface ScriptedRun {
  runDirectory: string;
  /** `start`, `term`, `end`, `clash` and `found <number>`, in order. */
  log(): string[];
  /** Lets a trainer that waits end. */
  go(): void;
}

/** Makes the directory, or finds it. Whoever the trainer runs as may write there. */
export function scriptedRun(runDirectory: string, plan: string): ScriptedRun {
  mkdirSync(runDirectory, { recursive: true });
  chmodSync(runDirectory, 0o777);
  writeFileSync(join(runDirectory, "plan"), plan);
  const file = join(runDirectory, "log");
  appendFileSync(file, "");
  chmodSync(file, 0o666);
  return {
    runDirectory,
    log: () => (existsSync(file) ? readFileSync(file, "utf8").split("\n").filter(Boolean) : []),
    go: () => writeFileSync(join(runDirectory, "go"), ""),
  };
}
