"""Runs of several stages: each iteration has its objective, rate and optimiser, and goes on from the one before."""

import gzip
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel
from safetensors.torch import load_file

from nightshift_trainer.config import RunConfig
from nightshift_trainer.errors import DatasetError
from nightshift_trainer.handover import MANIFEST, digest_of
from nightshift_trainer.stages import begins_stage, objective_of, stages_through
from tests.run_files import rewarded_tokens, run_json, sampled_groups, tiny_model, write_batch
from tests.test_process import first_tokens, history, published
from tests.test_process import rows as row_count
from tests.test_train import manifest, train
from tests.trainer_process import finish, kill_when, mean_rewards, start, until
from tests.trainer_process import train as train_apart

MakeRun = Callable[..., Path]
SFT = {"lr": 0.02, "min_reward": 0.0, "members_per_group": 2}
DPO = {"lr": 0.003, "beta": 0.1, "min_gap": 0.1}


def rows(run: Path, kind: str = "step") -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["type"] == kind]


def test_an_entry_an_iteration_and_the_last_one_for_the_rest() -> None:
    raw = run_json(Path("x")) | {"stages": ["sft", "sft", "grpo"], "iterations": 5, "sft": SFT}
    config = RunConfig.model_validate(raw)
    assert [objective_of(config, k) for k in range(1, 6)] == ["sft", "sft", "grpo", "grpo", "grpo"]
    assert [k for k in range(1, 6) if begins_stage(config, k)] == [3]
    assert [stages_through(config, k) for k in (1, 2, 3, 5)] == [["sft"], ["sft"], *[["sft", "grpo"]] * 2]
    plain = RunConfig.model_validate(run_json(Path("x")))
    assert (objective_of(plain, 3), stages_through(plain, 3)) == ("grpo", ["grpo"])


@pytest.mark.parametrize(
    ("stages", "sabotage", "learns"),
    [
        (["sft"], None, True),
        (["dpo"], None, True),
        (["sft", "grpo"], None, True),
        (["sft"], "shuffle_rewards", False),
        (["dpo"], "shuffle_rewards", False),
    ],
)
def test_reward_rises_by_every_objective_only_when_it_tells_something(
    make_run: MakeRun, stages: list[str], sabotage: str | None, learns: bool
) -> None:
    """As in test_train, by other objectives: every batch is sampled from the adapter before it, and passes the
    tight bound on |trainer − sampler| that a batch of any other policy fails."""
    run = make_run(stages=stages, sft=SFT, dpo={**DPO, "lr": 0.015}, iterations=6, sabotage=sabotage)
    means = mean_rewards(run, 6)
    gain = means[-1] - means[0]
    assert gain > 0.2 if learns else abs(gain) < 0.1, means
    assert max(manifest(run, k)["metrics"]["logprob_mean_abs_delta"] for k in range(1, 7)) < 1e-4


def test_grpo_after_sft_takes_only_what_the_sft_adapter_sampled(make_run: MakeRun) -> None:
    run = make_run(stages=["sft", "grpo"], sft={**SFT, "lr": 0.05}, iterations=2)
    for k in (1, 2):
        write_batch(run, k, sampled_groups(tiny_model(), rewarded_tokens, seed=k))
    with pytest.raises(DatasetError, match=r"batch-2/groups\.jsonl\.gz: mean \|trainer - sampler\| logprob"):
        train(run)


def test_a_stage_says_its_name_wherever_a_run_is_told(make_run: MakeRun) -> None:
    run = make_run(stages=["sft", "dpo", "grpo"], sft=SFT, dpo=DPO, iterations=3)
    pid = start(run)
    model, phases = tiny_model(), []
    for k in (1, 2, 3):
        until(lambda k=k: (run / "status.json").exists() and status(run)["iteration"] == k)
        phases.append(status(run)["objective"])
        write_batch(run, k, sampled_groups(model, rewarded_tokens, seed=k))
        until((run / f"adapter-{k}" / "manifest.json").exists)
        model = PeftModel.from_pretrained(tiny_model(), run / f"adapter-{k}")
    assert finish(pid) == 0
    assert phases == ["sft", "dpo", "grpo"]
    assert [manifest(run, k)["stages"] for k in (1, 2, 3)] == [
        ["sft"],
        ["sft", "dpo"],
        ["sft", "dpo", "grpo"],
    ]
    assert [row["objective"] for row in rows(run, "iteration")] == ["sft", "dpo", "grpo"]
    assert [row["objective"] for row in rows(run)] == ["sft", "sft", "dpo", "dpo", "grpo", "grpo"]
    margins = [row["preference_margin"] for row in rows(run)]
    assert [margin is None for margin in margins] == [True, True, False, False, True, True]
    said = (run / "stderr").read_text()
    assert "iteration 1/3 (sft): waiting for its batch" in said
    assert "iteration 2/3 (dpo): published adapter-2" in said
    assert "iteration 3/3: published adapter-3" in said


def status(run: Path) -> dict[str, Any]:
    return json.loads((run / "status.json").read_text())


def test_a_stage_begins_as_a_run_from_its_adapter_would(make_run: MakeRun) -> None:
    """Rates, warm-up and moments are the stage's own: what the one before left behind is the adapter alone."""
    fixed = {"minibatches_per_batch": 1, "optimizer__warmup_steps": 2, "optimizer__lr": 0.003}
    staged = make_run("staged", stages=["sft", "sft", "grpo"], sft=SFT, iterations=4, **fixed)
    pid = start(staged)
    model = tiny_model()
    for k in (1, 2, 3, 4):
        write_batch(staged, k, sampled_groups(model, rewarded_tokens, groups=1, seed=k))
        until((staged / f"adapter-{k}" / "manifest.json").exists)
        model = PeftModel.from_pretrained(tiny_model(), staged / f"adapter-{k}")
    assert finish(pid) == 0
    rates = [row["learning_rate"] for row in rows(staged)]
    assert rates == pytest.approx([0.02 / 3, 0.04 / 3, 0.001, 0.002])

    adapter = {"path": str(staged / "adapter-2"), "digest": "d"}
    alone = make_run("alone", start_adapter=adapter, iterations=2, **fixed)
    for k in (1, 2):
        write_batch(alone, k, batch_lines(staged, k + 2))
    train(alone)
    expected = load_file(staged / "adapter-4" / "adapter_model.safetensors")
    for name, tensor in load_file(alone / "adapter-2" / "adapter_model.safetensors").items():
        assert tensor.equal(expected[name]), name


def batch_lines(run: Path, iteration: int) -> list[dict[str, Any]]:
    text = gzip.decompress((run / f"batch-{iteration}" / "groups.jsonl.gz").read_bytes())
    return [json.loads(line) for line in text.splitlines()]


def test_examples_that_nobody_earned_leave_the_adapter_for_the_next_stage(make_run: MakeRun) -> None:
    run = make_run(stages=["sft", "grpo"], sft={**SFT, "min_reward": 2.0}, iterations=2)
    for k in (1, 2):
        write_batch(run, k, sampled_groups(tiny_model(), rewarded_tokens, seed=k))
    assert train(run).step == 2
    assert manifest(run, 1)["metrics"]["groups_dropped"] == {"no_good_member": 4}
    assert (manifest(run, 1)["metrics"]["steps"], manifest(run, 2)["metrics"]["steps"]) == (0, 2)
    assert (
        digest_of((run / "adapter-1" / "manifest.json").read_bytes())
        == manifest(run, 2)["parent_adapter_digest"]
    )


def test_killed_after_every_row_of_every_stage_it_ends_with_the_same_bytes(make_run: MakeRun) -> None:
    """Between the steps of SFT and DPO, and at the turns from one stage to the next."""

    def a_run(name: str) -> Path:
        # Dropout, so that the random state matters, and a checkpoint that is not at every step.
        fixed: dict[str, Any] = {
            "minibatches_per_batch": 3,
            "lora__dropout": 0.1,
            "checkpoint_every_steps": 2,
        }
        fixed |= {"stages": ["sft", "dpo", "grpo"], "sft": SFT, "dpo": DPO, "iterations": 3}
        run = make_run(name, logprob_gate__max_mean_abs_delta=100, loss__kind="grpo", **fixed)
        for k in (1, 2, 3):
            write_batch(run, k, sampled_groups(tiny_model(), first_tokens, groups=6, seed=k))
        return run

    whole, killed = a_run("whole"), a_run("killed")
    assert train_apart(whole) == 0
    assert [row["objective"] for row in rows(whole)] == ["sft"] * 3 + ["dpo"] * 3 + ["grpo"] * 3
    # Without the last batch it waits: it cannot end before it was killed after each of the eight rows.
    (killed / "batch-3" / MANIFEST).rename(killed / "later")
    for target in range(1, 9):
        assert kill_when(start(killed), lambda n=target: row_count(killed) >= n) == -signal.SIGKILL
    (killed / "later").rename(killed / "batch-3" / MANIFEST)
    assert train_apart(killed) == 0
    assert published(killed) == published(whole)
    assert history(killed) == history(whole)
