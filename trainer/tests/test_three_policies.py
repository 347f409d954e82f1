"""Whole runs in the three-policy form: what is masked, counted and refused, and that a killed run ends the same."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nightshift_trainer.errors import DatasetError
from tests.run_files import rewarded_tokens, sampled_groups, tiny_model, write_batch
from tests.test_process import a_run, history, published, rows
from tests.test_train import manifest, train
from tests.trainer_process import kill_when, start
from tests.trainer_process import train as train_process

MakeRun = Callable[..., Path]
FORM = {"tis_cap": 2, "mask_low": 0.99, "mask_high": 1.01}
WIDE = {"tis_cap": 2, "mask_low": 0.001, "mask_high": 1000}


def shifted(groups: list[dict[str, Any]], members: Callable[[int], bool], by: float) -> list[dict[str, Any]]:
    """The sampler's logprobs of every i-th member of a group moved by `by`."""
    for each in groups:
        for i, m in enumerate(each["members"]):
            if members(i):
                m["calls"][0]["logprobs"] = [x - by for x in m["calls"][0]["logprobs"]]
    return groups


def test_a_sequence_too_far_from_its_sampler_is_masked_and_counted(make_run: MakeRun) -> None:
    # Two of eight members of four groups, six tokens each: exp(0.03) = 1.0305 is outside, exp(0.005) inside.
    run = make_run(loss__correction=FORM, logprob_gate__max_mean_abs_delta=0.02)
    groups = shifted(sampled_groups(tiny_model(), rewarded_tokens), lambda i: i < 2, 0.03)
    write_batch(run, 1, shifted(groups, lambda i: i == 2, 0.005))
    assert train(run).step == 2
    metrics = manifest(run)["metrics"]
    assert (metrics["sequences_masked"], metrics["tokens_masked"], metrics["members_in_loss"]) == (8, 48, 24)
    assert metrics["groups_kept"] == 4
    # Of the tokens that stay, one in six weighs exp(0.005), the others 1.
    assert metrics["tis_weight_mean"] == pytest.approx(1 + (2.718281828**0.005 - 1) / 6, abs=1e-5)
    assert metrics["tis_truncated_share"] == 0
    # Over the whole batch, the masked included: (2 * .03 + .005) / 8.
    assert metrics["logprob_mean_abs_delta"] == pytest.approx(0.065 / 8, abs=1e-5)
    line = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert (line["type"], line["sequences_masked"]) == ("iteration", 8)


def test_a_batch_of_another_policy_is_refused_not_masked(make_run: MakeRun) -> None:
    run = make_run(loss__correction=FORM)
    write_batch(run, 1, shifted(sampled_groups(tiny_model(), rewarded_tokens), lambda _: True, 0.5))
    with pytest.raises(DatasetError, match=r"batch-1/groups\.jsonl\.gz: mean .* logprob is 0\.5000"):
        train(run)
    assert not (run / "adapter-1").exists()


def test_where_all_is_masked_there_is_nothing_to_learn(make_run: MakeRun) -> None:
    run = make_run(loss__correction=FORM, logprob_gate__max_mean_abs_delta=1)
    write_batch(run, 1, shifted(sampled_groups(tiny_model(), rewarded_tokens), lambda _: True, 0.5))
    assert train(run).step == 0
    metrics = manifest(run)["metrics"]
    assert metrics["groups_dropped"] == {"geometric_mask": 4}
    assert (metrics["groups_kept"], metrics["sequences_masked"], metrics["tis_weight_mean"]) == (0, 32, None)


@pytest.mark.parametrize("kind", ["grpo", "cispo"])
def test_killed_in_the_middle_of_a_batch_it_ends_with_the_same_bytes(make_run: MakeRun, kind: str) -> None:
    """A checkpoint after every step and four steps a batch: most resumes are with π_old's weights gone."""
    fixed = {
        "loss__kind": kind,
        "loss__correction": WIDE,
        "minibatches_per_batch": 4,
        "checkpoint_every_steps": 1,
    }
    whole, killed = a_run(make_run, "whole", **fixed), a_run(make_run, "killed", **fixed)
    assert train_process(whole) == 0
    chance = random.Random(7)
    for _ in range(4):
        target, pid = rows(killed) + chance.randrange(1, 3), start(killed)
        if kill_when(pid, lambda n=target: rows(killed) >= n) == 0:
            break
    assert train_process(killed) == 0
    assert published(killed) == published(whole)
    assert history(killed) == history(whole)


def test_examples_are_not_masked(make_run: MakeRun) -> None:
    """Only ratios have an anchor: an iteration by SFT takes its batch as it is, the next one by GRPO masks."""
    stages = {"stages": ["sft", "grpo"], "sft": {"lr": 1e-9, "min_reward": 0, "members_per_group": 8}}
    gate = {"max_mean_abs_delta": 0.05}
    run = make_run(iterations=2, loss__correction=FORM, logprob_gate=gate, optimizer__lr=1e-9, **stages)
    for k in (1, 2):
        groups = sampled_groups(tiny_model(), rewarded_tokens, seed=k)
        write_batch(run, k, shifted(groups, lambda i: i < 2, 0.03))
    train(run)
    assert "sequences_masked" not in manifest(run, 1)["metrics"]
    assert manifest(run, 2)["metrics"]["sequences_masked"] == 8
