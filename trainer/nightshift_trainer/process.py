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
from nightshift_trainer.console import Console, emit
from nightshift_trainer.errors import EXIT_TERMINATED, DiskError, InterruptError, LockedError, RunError
from nightshift_trainer.handover import sweep, writing
from nightshift_trainer.status import Status
from nightshift_trainer.summary import failed, summarise, table

GRACE_S = 5
"""An orphan that has not come to a checkpoint by then ends without one. Its successor waits longer for the lock."""

LOCK = ".trainer.lock"

EPILOG = """\
examples:
  nightshift_trainer train example              progress on stderr, a table at the end on stdout
  nightshift_trainer train runs/7 --json | tail -1 | jq .adapters[].digest
  nightshift_trainer plot runs/7                a picture of what it has learned so far

exit codes:
  0    done, or nothing to learn (see outcome in status.json)
  64   bad command line, run.json, base model, start adapter or checkpoint: no restart mends it
  65   bad batch, with file and line: no restart mends it
  143  stopped by SIGTERM, Ctrl-C or the end of its parent, after a checkpoint
  any other (75 where the reason is known: full disk, no batch in time, another trainer at work) may be retried
  and goes on from the newest whole checkpoint
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
    parser.add_argument(
        "--json",
        action="store_true",
        help="the last line on stdout is the result as JSON, however the run ends; the table goes to stderr",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="where the digests of the base model's files are kept, which take minutes to compute for a large one: "
        "a file is hashed again only if its size, inode or times changed. Runs may share it (default: RUN)",
    )
    parser.add_argument(
        "--lock-wait",
        type=float,
        default=10,
        metavar="S",
        help="seconds to wait for another trainer to leave RUN (default: 10)",
    )
    parser.add_argument(
        "--exit-with-stdin",
        action="store_true",
        help="checkpoint and stop when standard input closes, as it does when the parent process dies",
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs to the end; returns the exit code and never raises for what ended the run."""
    began = time.monotonic()
    # Threads of a tensor operation that spin while they wait starve whatever shares the machine with the trainer.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    stop, begun, console = threading.Event(), threading.Event(), Console()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if arguments.exit_with_stdin:
        threading.Thread(target=_follow_stdin, args=(stop, begun), daemon=True).start()
    try:
        directory, config = load_config(arguments.run)
        with _lock(directory, arguments.lock_wait, stop):
            sweep(directory)
            cache = arguments.cache or directory
            outcome, steps = _train(directory, config, stop, begun, console, cache)
    except RunError as error:
        console.say(f"error: {error}")
        if arguments.json:
            emit(json.dumps(failed(error)))
        return error.exit_code
    result = summarise(directory, config, outcome, steps, time.monotonic() - began)
    if arguments.json:
        console.say(table(result))
        emit(json.dumps(result))
    else:
        emit(table(result))
    return 0


def _train(
    directory: Path,
    config: RunConfig,
    stop: threading.Event,
    begun: threading.Event,
    console: Console,
    cache: Path,
) -> tuple[str, int]:
    """(outcome, steps taken). Every way out leaves its outcome in status.json. `begun` is set from when a stop may
    have work to save."""
    status = Status(directory, config)
    console.say(f"run {config.run_id} of agent {config.agent}: {config.iterations} iterations")
    if config.sabotage is not None:
        console.say(f"SABOTAGE {config.sabotage}: this run makes a bad adapter on purpose")
    try:
        from nightshift_trainer.train import Night  # noqa: PLC0415 -- torch takes seconds; the status is there before

        if stop.is_set():
            raise InterruptError("asked to stop")
        night = Night(directory, config, status, stop, console.say, console.pace, cache)
        begun.set()
        night.run()
    except RunError as error:
        ended = "interrupted" if error.exit_code == EXIT_TERMINATED else "failed"
        _last_word(status, console, ended, error.exit_code, str(error))
        raise
    except Exception as error:
        _last_word(status, console, "failed", 1, f"{type(error).__name__}: {error}")
        traceback.print_exc()
        raise CrashError(f"{type(error).__name__}: {error}") from error
    outcome = "completed" if night.progress.step > 0 else "nothing_to_learn"
    status.finish(outcome, 0, None if outcome == "completed" else "no group of any batch carried signal")
    console.say(f"{outcome.replace('_', ' ')} after {night.progress.step} steps")
    return outcome, night.progress.step


def _last_word(status: Status, console: Console, ended: str, exit_code: int, reason: str) -> None:
    """A disk that took no checkpoint may take no status either: what ended the run is what it is left with."""
    try:
        status.finish(ended, exit_code, reason)
    except DiskError as error:
        console.say(f"error: {error}")


class CrashError(RunError):
    """An unexpected error; its traceback was printed."""

    exit_code = 1


@contextmanager
def _lock(directory: Path, wait_s: float, stop: threading.Event) -> Iterator[None]:
    """Held by the kernel for this process's life, so no crash leaves it behind. Raises LockedError, InterruptError, and
    DiskError where no lock can be had.

    It is waited for a little: an orphan of a killed control service is on its way out.
    """
    with writing(LOCK, 0, directory):
        file = (directory / LOCK).open("a+")
    with file:
        deadline = time.monotonic() + wait_s
        while not _taken(file, directory):
            if time.monotonic() >= deadline:
                file.seek(0)
                owner = file.read().strip() or "?"
                raise LockedError(f"{directory} is being trained by process {owner}; one run has one trainer")
            if stop.wait(0.1):
                raise InterruptError("asked to stop")
        owner = str(os.getpid())
        with writing(LOCK, len(owner), directory):
            file.truncate(0)
            file.write(owner)
            file.flush()
        yield


def _taken(file: IO[str], directory: Path) -> bool:
    with writing(LOCK, 0, directory):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _follow_stdin(stop: threading.Event, begun: threading.Event) -> None:
    """Writes nothing: whoever read our stderr is dead, and a broken pipe must not keep an orphan alive."""
    while os.read(0, 4096):
        pass
    stop.set()
    if begun.is_set():
        time.sleep(GRACE_S)
    os._exit(EXIT_TERMINATED)
