"""Runs the trainer as a process of its own, forked so that nothing is imported twice."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from peft import PeftModel

from nightshift_trainer import process
from tests.run_files import rewarded_tokens, sampled_groups, tiny_model, write_batch

WAIT_S = 30.0


def start(
    run: Path,
    meet: Callable[[], None] = lambda: None,
    lock_wait: float = WAIT_S,
    cache: Path | None = None,
) -> int:
    """The pid of a trainer on `run`; what it says goes to `run`/stderr. `meet` is what happens to it first."""
    pid = os.fork()
    if pid != 0:
        return pid
    with (run / "stderr").open("a", buffering=1) as log:
        sys.stderr = log
        code = 1
        try:
            meet()
            code = process.run(
                argparse.Namespace(
                    run=run, json=False, exit_with_stdin=False, lock_wait=lock_wait, cache=cache
                )
            )
        finally:
            log.flush()
            os._exit(code)


def finish(pid: int) -> int:
    """Its exit code; negative for the signal that ended it."""
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def train(run: Path, meet: Callable[[], None] = lambda: None) -> int:
    """Runs to the end."""
    return finish(start(run, meet))


def mean_rewards(run: Path, iterations: int) -> list[float]:
    """The whole loop against a living trainer: sample with adapter k, reward a quarter of the tokens, train k + 1. The
    mean reward of each batch, and of one more with the last adapter."""
    pid = start(run)
    model, means = tiny_model(), []
    for k in range(1, iterations + 2):
        groups = sampled_groups(model, rewarded_tokens, groups=8, tokens=8, seed=k)
        means.append(sum(m["reward"] for g in groups for m in g["members"]) / 64)
        if k <= iterations:
            write_batch(run, k, groups)
            until((run / f"adapter-{k}" / "manifest.json").exists)
            model = PeftModel.from_pretrained(tiny_model(), run / f"adapter-{k}")
    assert finish(pid) == 0
    return means


def kill_when(pid: int, condition: Callable[[], bool], number: int = signal.SIGKILL) -> int:
    """Sends the signal as soon as the condition holds; the exit code."""
    until(condition)
    os.kill(pid, number)
    return finish(pid)


def until(condition: Callable[[], bool]) -> None:
    """Returns when the condition holds; fails the test if it never does."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "the trainer did not get there"
        time.sleep(0.002)
