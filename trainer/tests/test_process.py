"""The trainer as a process: killed, asked to stop, orphaned, started twice. However it ends, it goes on or says why."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nightshift_trainer.checkpoint import run_digest
from nightshift_trainer.config import load_config
from nightshift_trainer.handover import MANIFEST
from tests.run_files import sampled_groups, tiny_model, write_batch
from tests.trainer_process import finish, kill_when, start, train, until

MakeRun = Callable[..., Path]
PACKAGE = Path(__file__).parents[1]


def status(run: Path) -> dict[str, Any]:
    return json.loads((run / "status.json").read_text())


def rows(run: Path) -> int:
    file = run / "metrics.jsonl"
    return len(file.read_bytes().splitlines()) if file.exists() else 0


def first_tokens(completion: list[int]) -> float:
    return sum(token < 32 for token in completion) / len(completion)


def published(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted(run.glob("adapter-*/*"))}


def a_run(make_run: MakeRun, name: str, **changes: Any) -> Path:
    # Dropout, so that the random state matters.
    fixed = {"iterations": 2, "minibatches_per_batch": 3, "lora__dropout": 0.1, "optimizer__lr": 0.002}
    fixed |= {"checkpoint_every_steps": 2, "logprob_gate__max_mean_abs_delta": 1}
    run = make_run(name, **(fixed | changes))
    for k in (1, 2):
        write_batch(run, k, sampled_groups(tiny_model(), first_tokens, groups=6, seed=k))
    return run


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_steps_it_ends_where_the_undisturbed_run_ends(make_run: MakeRun, seed: int) -> None:
    whole, killed = a_run(make_run, "whole"), a_run(make_run, "killed")
    assert train(whole) == 0
    chance = random.Random(seed)
    for _ in range(3):
        already = rows(killed)
        pid = start(killed)
        target = already + chance.randrange(0, 3)
        if kill_when(pid, lambda n=target: rows(killed) >= n) == 0:
            break
    assert train(killed) == 0
    assert status(killed)["outcome"]["status"] == "completed"
    assert published(killed) == published(whole)
    assert history(killed) == history(whole)


def test_killed_at_twenty_random_points_it_ends_with_the_same_bytes(make_run: MakeRun) -> None:
    """Between steps, in the middle of one, while a checkpoint or an adapter is written: whatever a moment meets."""
    many = {"iterations": 6, "minibatches_per_batch": 4, "checkpoint_every_steps": 1}
    whole, killed = a_run(make_run, "whole", **many), a_run(make_run, "killed", **many)
    for k in range(3, 7):
        for run in (whole, killed):
            write_batch(run, k, sampled_groups(tiny_model(), first_tokens, groups=6, seed=k))
    assert train(whole) == 0
    chance, kills = random.Random(5), 0
    for _ in range(20):
        # At most one row further each time, of thirty in all: it cannot end before it was killed twenty times.
        target, pid = rows(killed) + chance.randrange(0, 2), start(killed)
        until(lambda n=target: rows(killed) >= n)
        time.sleep(chance.uniform(0, 0.02))
        kills += kill_when(pid, lambda: True) == -signal.SIGKILL
    assert kills == 20
    assert train(killed) == 0
    assert published(killed) == published(whole)
    assert history(killed) == history(whole)


def history(run: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl without what a clock says."""
    clock = {"seconds", "logical_tokens_per_s", "physical_tokens_per_s", "peak_memory_bytes"}
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in clock} for line in lines]


def test_sigterm_checkpoints_the_last_whole_step_and_the_next_start_goes_on(make_run: MakeRun) -> None:
    whole, stopped = a_run(make_run, "whole"), a_run(make_run, "stopped", checkpoint_every_steps=100)
    (stopped / "batch-2" / MANIFEST).rename(stopped / "later")
    pid = start(stopped)
    waiting = lambda: (stopped / "status.json").exists() and status(stopped)["iteration"] == 2  # noqa: E731
    assert kill_when(pid, waiting, signal.SIGTERM) == 143
    assert status(stopped)["outcome"] == {
        "status": "interrupted",
        "exit_code": 143,
        "reason": "asked to stop",
    }
    assert (stopped / "checkpoint-3" / MANIFEST).exists()
    (stopped / "later").rename(stopped / "batch-2" / MANIFEST)
    assert train(stopped) == 0
    assert status(stopped)["resumed_from"] == 3
    assert train(whole) == 0
    assert published(stopped) == published(whole)


def test_a_run_goes_on_with_another_bound_and_with_no_other_learning_rate(make_run: MakeRun) -> None:
    def digest(**given: Any) -> str:
        return run_digest(load_config(make_run("-".join(["run", *given]), **given))[1])

    before = digest()
    assert digest(logprob_gate={"max_mean_abs_delta": 0.2}) == before
    assert digest(threads=2, batch_deadline_s=5) == before
    assert digest(optimizer__lr=0.02) != before


def test_a_torn_checkpoint_is_passed_over(make_run: MakeRun) -> None:
    run = a_run(make_run, "run")
    assert train(run) == 0
    before = published(run)
    newest = run / "checkpoint-6" / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    assert train(run) == 0
    assert status(run)["resumed_from"] == 4
    assert published(run) == before


def test_a_second_trainer_is_refused_while_the_first_lives(make_run: MakeRun) -> None:
    run = make_run()
    pid = start(run)
    until(lambda: (run / "status.json").exists() and status(run)["phase"] == "waiting")
    second = command(run, "--lock-wait", "0")
    assert second.returncode == 75
    assert f"is being trained by process {pid}; one run has one trainer" in second.stderr
    write_batch(run, 1, sampled_groups(tiny_model(), first_tokens))
    assert finish(pid) == 0


def test_exit_codes_name_what_no_restart_mends(make_run: MakeRun) -> None:
    unknown = make_run("unknown", optimizer__momentum=0.9)
    refused = command(unknown)
    assert refused.returncode == 64
    assert "run.json: optimizer.momentum: Extra inputs are not permitted" in refused.stderr
    assert command(unknown / "nowhere").returncode == 64
    bad = make_run("bad")
    groups = sampled_groups(tiny_model(), first_tokens)
    groups[2]["members"][1]["calls"][0]["prompt_token_ids"][0] = 64
    write_batch(bad, 1, groups)
    assert train(bad) == 65
    assert "line 3: rollout 0-2-1 call 0 has token id 64" in status(bad)["outcome"]["reason"]
    flat = make_run("flat", sabotage="invert_rewards")
    write_batch(flat, 1, sampled_groups(tiny_model(), lambda _: 1.0))
    assert train(flat) == 0
    assert status(flat)["outcome"]["status"] == "nothing_to_learn"
    assert "SABOTAGE invert_rewards" in (flat / "stderr").read_text()
    assert status(flat)["sabotage"] == "invert_rewards"


def test_from_the_command_line_it_trains_reports_and_leaves_with_its_parent(make_run: MakeRun) -> None:
    run = make_run(iterations=2)
    write_batch(run, 1, sampled_groups(tiny_model(), first_tokens))
    arguments = [sys.executable, "-m", "nightshift_trainer", "train", str(run), "--json", "--exit-with-stdin"]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, cwd=PACKAGE, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as child:
        until((run / "adapter-1" / MANIFEST).exists)
        _, said = child.communicate()  # closes its stdin
    assert child.returncode == 143
    lines = said.splitlines()
    assert lines[0] == "run run-1 of agent shop: 2 iterations"
    assert lines[-1] == "error: asked to stop"
    assert not [line for line in lines if "Warning" in line or "%|" in line]


def test_an_orphan_that_nobody_listens_to_still_keeps_its_work(make_run: MakeRun) -> None:
    run = make_run(iterations=2)
    write_batch(run, 1, sampled_groups(tiny_model(), first_tokens))
    arguments = [sys.executable, "-m", "nightshift_trainer", "train", str(run), "--exit-with-stdin"]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, cwd=PACKAGE, stdin=pipe, stderr=pipe, text=True) as child:
        until((run / "adapter-1" / MANIFEST).exists)
        assert child.stdin
        assert child.stderr
        child.stderr.close()  # as when its parent was killed: both ends go
        child.stdin.close()
        child.wait(timeout=10)
    assert status(run)["outcome"]["status"] == "interrupted"


def command(run: Path, *options: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "nightshift_trainer", "train", str(run), *options]
    return subprocess.run(arguments, cwd=PACKAGE, capture_output=True, text=True, check=False)
