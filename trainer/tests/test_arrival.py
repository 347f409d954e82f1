"""Batches that come late or never, by a clock of the test's own."""

from pathlib import Path

import pytest

from nightshift_trainer.arrival import await_batch
from nightshift_trainer.errors import DeadlineError
from tests.run_files import call, group, member, write_batch

LINES = [group("g", [member("a", 1, [call([1], [2], [-1.0])]), member("b", 0, [call([1], [3], [-1.0])])])]


class Clock:
    """A second passes with every pause; at `arrives_s` somebody writes the batch."""

    def __init__(self, run: Path, arrives_s: float) -> None:
        self.run, self.arrives_s, self.now_s, self.lacked = run, arrives_s, 0.0, []

    def pause(self, lacks: str) -> None:
        self.lacked.append(lacks)
        self.now_s += 1
        if self.now_s == self.arrives_s:
            write_batch(self.run, 1, LINES)

    def now(self) -> float:
        return self.now_s


@pytest.mark.parametrize("arrives_s", [3, 10])
def test_a_batch_is_taken_up_to_the_deadline(tmp_path: Path, arrives_s: int) -> None:
    clock = Clock(tmp_path, arrives_s)
    batch = await_batch(tmp_path, 1, 10, clock.pause, clock.now)
    assert batch.groups[0].group_id == "g"
    assert clock.lacked == ["no whole manifest"] * arrives_s


def test_one_that_comes_after_it_is_too_late(tmp_path: Path) -> None:
    clock = Clock(tmp_path, 11)
    with pytest.raises(DeadlineError, match="no batch-1 with a whole manifest within 10 s"):
        await_batch(tmp_path, 1, 10, clock.pause, clock.now)
    assert clock.now_s == 10
