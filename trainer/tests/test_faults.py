"""What a machine does to a trainer: a full disk, a signal at the worst moment, a file that cannot be written.

However it ends, nothing half-written is trusted, and the next start ends with the bytes of an undisturbed run.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nightshift_trainer import step
from nightshift_trainer.base_model import CACHE
from tests.run_files import sampled_groups, tiny_model, write_batch
from tests.trainer_process import finish, kill_when, start, train, until

MakeRun = Callable[..., Path]
PACKAGE = Path(__file__).parents[1]
UNSHARE = ["unshare", "--mount"]


def even_tokens(completion: list[int]) -> float:
    return sum(token % 2 == 0 for token in completion) / len(completion)


def a_run(make_run: MakeRun, name: str, **changes: Any) -> Path:
    run = make_run(name, **changes)
    write_batch(run, 1, sampled_groups(tiny_model(), even_tokens))
    return run


def published(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted(run.glob("adapter-*/*"))}


def said(run: Path) -> str:
    """The last line."""
    return (run / "stderr").read_text().splitlines()[-1]


def at_rename(target: str, number: signal.Signals) -> Callable[[], None]:
    """Sends itself the signal when it is about to rename something over a path that ends so."""

    def meet() -> None:
        rename = Path.rename

        def met(self: Path, to: Path) -> Path:
            if str(to).endswith(target):
                os.kill(os.getpid(), number)
            return rename(self, to)

        pytest.MonkeyPatch().setattr(Path, "rename", met)

    return meet


def no_file_above(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_a_checkpoint_that_cannot_be_written_is_named_with_what_it_needs(make_run: MakeRun) -> None:
    whole, run = a_run(make_run, "whole"), a_run(make_run, "run")
    assert train(whole) == 0
    needed = (whole / "checkpoint-1" / "state.safetensors").stat().st_size
    assert train(run, no_file_above(needed - 1)) == 75
    assert f"checkpoint-1/state.safetensors ({needed:,} bytes) cannot be written: File too large; " in said(
        run
    )
    assert said(run).endswith(" bytes are free on its disk")
    outcome = json.loads((run / "status.json").read_text())["outcome"]
    assert (outcome["status"], outcome["exit_code"]) == ("failed", 75)
    assert not [p.name for p in run.iterdir() if "checkpoint" in p.name]
    assert train(run) == 0
    assert published(run) == published(whole)


def test_an_adapter_that_cannot_be_written_is_published_by_the_next_start(make_run: MakeRun) -> None:
    run = a_run(make_run, "run")
    assert train(run) == 0
    before = published(run)
    needed = len(before["adapter-1/adapter_model.safetensors"])
    shutil.rmtree(run / "adapter-1")
    assert train(run, no_file_above(needed - 1)) == 75
    assert f"adapter-1/adapter_model.safetensors ({needed:,} bytes) cannot be written" in said(run)
    assert not [p.name for p in run.iterdir() if "adapter" in p.name]
    assert train(run) == 0
    assert published(run) == before


def may_mount() -> bool:
    """Only root may, and not everywhere."""
    return (
        shutil.which("unshare") is not None
        and subprocess.run([*UNSHARE, "true"], check=False).returncode == 0
    )


@pytest.mark.skipif(not may_mount(), reason="needs to mount")
def test_a_full_disk_ends_the_run_and_space_lets_it_go_on(make_run: MakeRun, tmp_path: Path) -> None:
    whole, run, disk = a_run(make_run, "whole"), a_run(make_run, "run"), tmp_path / "disk"
    disk.mkdir()
    assert train(whole) == 0
    # Room for status.json and the rows, not for the first checkpoint.
    needed = (whole / "checkpoint-1" / "state.safetensors").stat().st_size
    inside = f"{sys.executable} -m tests.small_disk {disk}/run {needed}"
    script = f"mount -t tmpfs -o size=4m tmpfs {disk} && cp -r {run} {disk}/run && {inside}"
    ended = subprocess.run(
        [*UNSHARE, "sh", "-c", script], cwd=PACKAGE, capture_output=True, text=True, check=True
    )
    seen = json.loads(ended.stdout.splitlines()[-1])
    assert (seen["full"], seen["again"]) == (75, 0)
    assert f"checkpoint-1/state.safetensors ({needed:,} bytes)" in seen["said"]
    assert "No space left on device" in seen["said"]
    assert not [name for name in seen["left"] if "checkpoint" in name or "adapter" in name]
    assert seen["adapters"] == {name: content.hex() for name, content in published(whole).items()}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize(
    "target",
    [
        "/state.safetensors",
        "checkpoint-2",
        "checkpoint-2/manifest.json",
        "adapter-1",
        "adapter-1/manifest.json",
    ],
)
def test_a_signal_at_a_hand_over_loses_nothing(
    make_run: MakeRun, target: str, number: signal.Signals
) -> None:
    whole, run = a_run(make_run, "whole"), a_run(make_run, "run")
    assert train(whole) == 0
    ended = train(run, at_rename(target, number))
    # SIGTERM in the last hand-over of all comes when nothing is left to do.
    asked = 0 if target.startswith("adapter-1") else 143
    assert ended == (asked if number == signal.SIGTERM else -number)
    assert train(run) == 0
    assert published(run) == published(whole)
    # Whether a base that was just written is known already depends on the clock.
    left = [sorted(p.name for p in each.iterdir() if p.name != CACHE) for each in (run, whole)]
    assert left[0] == left[1]


def test_sigterm_between_micro_batches_gives_the_step_up(make_run: MakeRun) -> None:
    cut = {"micro_batch_tokens": 30}
    whole, run = a_run(make_run, "whole", **cut), a_run(make_run, "run", **cut)
    assert train(whole) == 0

    def meet() -> None:
        compute, calls = step.token_logprobs, iter(range(100))

        def met(*args: Any) -> Any:
            if next(calls) == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return compute(*args)

        step.token_logprobs = met

    assert train(run, meet) == 143
    assert not (run / "metrics.jsonl").exists()
    assert train(run) == 0
    assert published(run) == published(whole)


@pytest.mark.parametrize("name", ["status.json", ".trainer.lock"])
def test_a_run_that_cannot_be_seen_or_owned_does_not_begin(make_run: MakeRun, name: str) -> None:
    run = a_run(make_run, "run")
    (run / name).mkdir()
    assert train(run) == 75
    assert f"{name} (" in said(run)
    assert "cannot be written: Is a directory" in said(run)
    (run / name).rmdir()
    assert train(run) == 0


def test_a_killed_trainer_leaves_no_lock(make_run: MakeRun) -> None:
    run = make_run()
    waiting = lambda: (run / "status.json").exists() and '"waiting"' in (run / "status.json").read_text()  # noqa: E731
    assert kill_when(start(run), waiting) == -signal.SIGKILL
    write_batch(run, 1, sampled_groups(tiny_model(), even_tokens))
    assert finish(start(run, lock_wait=0)) == 0


def test_a_torn_last_row_is_forgotten(make_run: MakeRun) -> None:
    run = a_run(make_run, "run")
    assert train(run) == 0
    metrics = run / "metrics.jsonl"
    rows = metrics.read_bytes().splitlines()
    with metrics.open("ab") as file:
        file.write(rows[1][:40])
    assert train(run) == 0
    again = metrics.read_bytes().splitlines()
    assert [json.loads(row)["type"] for row in again] == ["step", "step", "iteration"]
    assert again[:2] == rows[:2]


def test_a_batch_whose_manifest_came_first_is_waited_for(make_run: MakeRun) -> None:
    run = a_run(make_run, "run")
    file = run / "batch-1" / "groups.jsonl.gz"
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    pid = start(run)
    until(lambda: (run / "stderr").exists() and "waiting for its batch" in (run / "stderr").read_text())
    with file.open("ab") as rest:
        rest.write(content[-1:])
    assert finish(pid) == 0


def test_a_batch_that_is_not_what_its_manifest_says_is_refused(make_run: MakeRun) -> None:
    short, wrong = a_run(make_run, "short", batch_deadline_s=0.2), a_run(make_run, "wrong")
    file = short / "batch-1" / "groups.jsonl.gz"
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:10])
    assert train(short) == 65
    assert said(short) == (
        f"error: batch-1/groups.jsonl.gz has 10 of the {size} bytes that its manifest says, "
        "and no more came within 0.2 s"
    )
    file = wrong / "batch-1" / "groups.jsonl.gz"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert train(wrong) == 65
    assert said(wrong) == "error: batch-1/groups.jsonl.gz does not match the digest in its manifest"
