"""Pairs by hand, the loss by hand, its gradient against plain autograd, and that the margin grows."""

import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
import torch
from torch import Tensor

from nightshift_trainer import dpo
from nightshift_trainer.advantage import learn_from
from nightshift_trainer.config import RunConfig, load_config
from nightshift_trainer.dpo import choose_pairs, preference, weigh_pairs
from nightshift_trainer.forward import token_logprobs
from nightshift_trainer.stages import take_step_by
from nightshift_trainer.status import Status
from nightshift_trainer.train import Night
from nightshift_trainer.types import Batch, LearningGroup, LossMember
from tests.run_files import memory_for, rewarded_tokens, run_json, sampled_groups, tiny_model, write_batch
from tests.test_packed_step import Recorder, group, policy
from tests.test_sft import a_group
from tests.test_train import train

MakeRun = Callable[..., Path]
BETA = 0.1


def pairs(rewards: list[float | None], min_gap: float, staleness: int = 0) -> list[tuple[str, str]]:
    of = a_group("g", rewards, staleness=staleness)
    known = {m.rollout_id: m.reward for m in of.members if m.reward is not None}
    learning = choose_pairs(learn_from(Batch(1, "batch", (of,)), 0.1, "group_std"), known, min_gap)
    assert learning.dropped == ({} if learning.groups else {"no_pair": 1})
    members = [m for g in learning.groups for m in g.members]
    assert [m.advantage for m in members] == [1.0, -1.0] * (len(members) // 2)
    names = [m.rollout_id for m in members]
    return list(zip(names[::2], names[1::2], strict=True))


def test_the_best_meets_the_worst_and_nobody_is_in_two_pairs() -> None:
    # Ranked: g4 .9, g0 .8, g2 .5 | g5 .45, g1 .2, g3 .1. The third pair is only .05 apart.
    rewards: list[float | None] = [0.8, 0.2, 0.5, 0.1, 0.9, 0.45, None]
    assert pairs(rewards, 0.1) == [("g4", "g3"), ("g0", "g1")]
    assert pairs(rewards, 0.01) == [("g4", "g3"), ("g0", "g1"), ("g2", "g5")]
    assert pairs(rewards, 0.7) == [("g4", "g3")]
    assert pairs(rewards, 0.9) == []
    # 0.6 - 0.5 is 0.09999999999999998.
    assert pairs([0.6, 0.5], 0.1) == [("g0", "g1")]
    # Two of three succeeded: one pair, the first of the equal ones; a gap of 0 is no preference even where 0 is asked.
    assert pairs([1, 0, 1], 0) == [("g0", "g1")]
    assert pairs([1, 1, 0, 1], 0) == [("g0", "g2")]


def test_only_what_this_adapter_sampled_has_the_reference_in_its_logprobs() -> None:
    assert pairs([1, 0], 0.1, staleness=1) == []


def test_preference_by_hand() -> None:
    # -ln σ(0) = ln 2; -ln σ(ln 3) = -ln .75 = .2876820725, σ(-ln 3) = .25; -ln σ(-ln 3) = ln 4, σ(ln 3) = .75.
    assert preference(0.0) == pytest.approx((math.log(2), 0.5))
    assert preference(math.log(3)) == pytest.approx((0.2876820725, 0.25), rel=1e-9)
    assert preference(-math.log(3)) == pytest.approx((math.log(4), 0.75), rel=1e-9)
    assert preference(-1000.0) == (1000.0, 1.0)
    assert preference(1000.0) == (0.0, 0.0)


def paired(seed: int) -> LearningGroup:
    """Members that part at any depth, with rows of their own where an agent rewrote its history; in pairs."""
    made = group(seed, 6)
    members = [
        replace(m, advantage=1.0 if i % 2 == 0 else -1.0, staleness=0) for i, m in enumerate(made.members)
    ]
    return replace(made, members=tuple(members))


def dpo_config() -> RunConfig:
    raw = run_json(Path("x")) | {"stages": ["dpo"], "dpo": {"lr": 0.01, "beta": BETA, "min_gap": 0.1}}
    raw["logprob_gate"] = {"max_mean_abs_delta": 100}
    raw["optimizer"] = raw["optimizer"] | {"clip_norm": 1e9}
    return RunConfig.model_validate(raw)


@pytest.mark.parametrize(("packed", "budget"), [(False, 1), (True, 1), (True, 60), (True, 10_000)])
def test_the_step_is_the_gradient_of_the_whole_loss_however_it_is_cut(packed: bool, budget: int) -> None:
    """Against the formula in one graph, row by row, through autograd's own log σ."""
    groups = [paired(1), paired(2)]
    reference = policy(packed=False)

    def shift(member: LossMember) -> Tensor:
        sums = [
            (token_logprobs(reference.model, [s]).logp_T - torch.tensor(s.sampler_logprobs)).sum()
            for s in member.sequences
        ]
        return torch.stack(sums).sum()

    losses = [
        -g.weight * torch.nn.functional.logsigmoid(BETA * (shift(better) - shift(worse)))
        for g in groups
        for better, worse in zip(g.members[::2], g.members[1::2], strict=True)
    ]
    expected = torch.stack(losses).mean()
    gradients = torch.autograd.grad(expected, list(reference.parameters().values()))

    of = policy(packed)
    recorder = Recorder(list(of.parameters().values()), lr=1)
    report = take_step_by(
        of,
        recorder,
        groups,
        dpo_config(),
        "dpo",
        budget_tokens=budget,
        bounds=None,
        beat=lambda _: None,
    )
    assert report.loss == pytest.approx(expected.item(), rel=1e-5)
    assert report.stopped is None
    assert report.clipped_share == 0
    for found, known in zip(recorder.gradients, gradients, strict=True):
        assert (found - known).norm() <= 1e-4 * known.norm() + 1e-7
    assert report.learning_rate == 0.01


def test_a_margin_by_hand() -> None:
    """Δ is the sum over a member's tokens: moving every μ of the better by −1 adds β times its tokens."""
    of, pair = policy(packed=True), paired(3)
    two = replace(pair, members=pair.members[:2])
    better = two.members[0]
    tokens = sum(len(s.positions) for s in better.sequences)
    lowered = tuple(
        replace(s, sampler_logprobs=tuple(x - 1 for x in s.sampler_logprobs)) for s in better.sequences
    )
    moved = replace(two, members=(replace(better, sequences=lowered), two.members[1]))
    before = weigh_pairs(of, [two], BETA, 10_000, lambda: None)
    after = weigh_pairs(of, [moved], BETA, 10_000, lambda: None)
    assert after.margin - before.margin == pytest.approx(BETA * tokens, rel=1e-4)
    push = preference(after.margin)[1]
    assert [m.advantage for m in after.groups[0].members] == pytest.approx([BETA * push, -BETA * push])


def test_the_margin_grows_from_nothing(make_run: MakeRun) -> None:
    run = make_run(
        stages=["dpo"], dpo={"lr": 0.003, "beta": BETA, "min_gap": 0.1}, minibatches_per_batch=1, iterations=6
    )
    groups = sampled_groups(tiny_model(), rewarded_tokens, groups=6)
    for k in range(1, 7):
        # The same pairs again: a batch that the new adapter sampled would have μ moved along, and no margin.
        for g in groups:
            for i, m in enumerate(g["members"]):
                m["rollout_id"] = f"{k}-{g['group_id']}-{i}"
        random.Random(k).shuffle(groups)
        write_batch(run, k, groups)
    raw = json.loads((run / "run.json").read_text()) | {"logprob_gate": {"max_mean_abs_delta": 100}}
    (run / "run.json").write_text(json.dumps(raw))
    assert train(run).step == 6
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if row["type"] == "step"]
    margins, losses = [row["preference_margin"] for row in steps], [row["loss"] for row in steps]
    assert margins[0] == pytest.approx(0, abs=1e-5)
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5)
    assert margins == sorted(margins)
    assert losses == sorted(losses, reverse=True)
    assert margins[-1] > 0.2


def test_pairs_that_do_not_fit_are_cut_smaller_until_they_do(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory for 59 tokens, met by the forward pass that weighs the pairs: everybody is in one, so groups have 60."""
    stage = {"stages": ["dpo"], "dpo": {"lr": 0.003, "beta": BETA, "min_gap": 0}}
    groups = sampled_groups(tiny_model(), lambda completion: completion[0] + completion[1] / 64)
    small, short = make_run("small", micro_batch_tokens=30, **stage), make_run("short", **stage)
    for run in (small, short):
        write_batch(run, 1, groups)
    train(small)

    monkeypatch.setattr(dpo, "token_logprobs", memory_for(59))
    said: list[str] = []
    directory, config = load_config(short)
    Night(directory, config, Status(directory, config), Event(), said.append).run()
    assert [line for line in said if "out of memory" in line] == [
        "  out of memory with 60 tokens at once: trying 30 instead"
    ]
    weights = "adapter-1/adapter_model.safetensors"
    assert (short / weights).read_bytes() == (small / weights).read_bytes()
