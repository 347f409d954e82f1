"""The trainer as a process: one per run directory, ends when asked or orphaned, says how it ended.

No torch until the work begins, so that a bad run.json is refused at once.
"""

import argparse
import fcntl
import json
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from nightshift_trainer.config import RunConfig, load_config
from nightshift_trainer.errors import EXIT_TERMINATED, LockedError, RunError
from nightshift_trainer.handover import MANIFEST, digest_of
from nightshift_trainer.status import Status, say

GRACE_S = 5
"""An orphan that has not come to a checkpoint by then ends without one. Its successor waits longer for the lock."""

EPILOG = """\
exit codes: 0 done or nothing to learn (see outcome in status.json), 64 bad run.json, base model, start adapter or
checkpoint, 65 bad batch, 143 stopped by SIGTERM or with its parent after a checkpoint; any other may be retried and
goes on from the newest whole checkpoint.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `train`."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Trains the LoRA adapter of one run: for each iteration it waits for batch-<k>, takes the optimiser steps,\n"
        "and publishes adapter-<k>. A run that was stopped or killed is continued by the same command."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run directory, or the path of its run.json")
    parser.add_argument("--json", action="store_true", help="print a JSON summary as the last line on stdout")
    parser.add_argument(
        "--lock-wait",
        type=float,
        default=10,
        metavar="S",
        help="seconds to wait for another trainer to leave RUN",
    )
    parser.add_argument(
        "--exit-with-stdin", action="store_true", help="checkpoint and stop when standard input closes"
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs to the end; returns the exit code and never raises for what ended the run."""
    began = time.monotonic()
    # Threads of a tensor operation that spin while they wait starve whatever shares the machine with the trainer.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    stop, begun = threading.Event(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if arguments.exit_with_stdin:
        threading.Thread(target=_follow_stdin, args=(stop, begun), daemon=True).start()
    try:
        directory, config = load_config(arguments.run)
        with _lock(directory, arguments.lock_wait):
            outcome, steps = _train(directory, config, stop, begun)
    except RunError as error:
        say(f"error: {error}")
        return error.exit_code
    if arguments.json:
        print(json.dumps(_summary(directory, config, outcome, steps, time.monotonic() - began)), flush=True)
    return 0


def _train(
    directory: Path, config: RunConfig, stop: threading.Event, begun: threading.Event
) -> tuple[str, int]:
    """(outcome, steps taken). Every way out leaves its outcome in status.json. `begun` is set from when a stop may
    have work to save."""
    status = Status(directory, config)
    say(f"run {config.run_id} of agent {config.agent}: {config.iterations} iterations")
    if config.sabotage is not None:
        say(f"SABOTAGE {config.sabotage}: this run makes a bad adapter on purpose")
    try:
        from nightshift_trainer.train import Night  # noqa: PLC0415 -- torch takes seconds; the status is there before

        night = Night(directory, config, status, stop, say)
        begun.set()
        night.run()
    except RunError as error:
        ended = "interrupted" if error.exit_code == EXIT_TERMINATED else "failed"
        status.finish(ended, error.exit_code, str(error))
        raise
    except Exception as error:
        status.finish("failed", 1, f"{type(error).__name__}: {error}")
        traceback.print_exc()
        raise CrashError(f"{type(error).__name__}: {error}") from error
    outcome = "completed" if night.progress.step > 0 else "nothing_to_learn"
    status.finish(outcome, 0, None if outcome == "completed" else "no group of any batch carried signal")
    say(f"{outcome.replace('_', ' ')} after {night.progress.step} steps")
    return outcome, night.progress.step


class CrashError(RunError):
    """An unexpected error; its traceback was printed."""

    exit_code = 1


@contextmanager
def _lock(directory: Path, wait_s: float) -> Iterator[None]:
    """Held by the kernel for this process's life, so no crash leaves it behind. Raises LockedError.

    It is waited for a little: an orphan of a killed control service is on its way out.
    """
    with (directory / ".trainer.lock").open("a+") as file:
        deadline = time.monotonic() + wait_s
        while not _taken(file):
            if time.monotonic() >= deadline:
                file.seek(0)
                owner = file.read().strip() or "?"
                raise LockedError(f"{directory} is being trained by process {owner}; one run has one trainer")
            time.sleep(0.1)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _summary(
    directory: Path, config: RunConfig, outcome: str, steps: int, seconds: float
) -> dict[str, object]:
    manifests = [directory / f"adapter-{k}" / MANIFEST for k in range(1, config.iterations + 1)]
    return {
        "run_id": config.run_id,
        "outcome": outcome,
        "steps": steps,
        "seconds": round(seconds, 3),
        "sabotage": config.sabotage,
        "adapters": [
            {
                "iteration": k,
                "digest": digest_of(m.read_bytes()),
                "metrics": json.loads(m.read_bytes())["metrics"],
            }
            for k, m in enumerate(manifests, 1)
        ],
    }


def _follow_stdin(stop: threading.Event, begun: threading.Event) -> None:
    """Writes nothing: whoever read our stderr is dead, and a broken pipe must not keep an orphan alive."""
    while os.read(0, 4096):
        pass
    stop.set()
    if begun.is_set():
        time.sleep(GRACE_S)
    os._exit(EXIT_TERMINATED)
