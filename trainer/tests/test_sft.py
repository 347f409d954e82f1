"""Which members become examples, and that learning them makes them likelier."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from nightshift_trainer.advantage import learn_from
from nightshift_trainer.batch import read_batch
from nightshift_trainer.loss import Tokens, likelihood_loss
from nightshift_trainer.sft import choose_examples
from nightshift_trainer.types import Batch, Call, Group, Member
from tests.run_files import rewarded_tokens, sampled_groups, tiny_model, write_batch
from tests.test_train import train

MakeRun = Callable[..., Path]
SFT = {"stages": ["sft"], "sft": {"lr": 0.01, "min_reward": 0.0, "members_per_group": 4}}


def a_group(name: str, rewards: list[float | None], **fields: Any) -> Group:
    own = Call((1, 2), (3,), (-1.0,), "stop", "d", 1.0)
    members = tuple(
        Member(f"{name}{i}", reward, **({"excluded_from_loss": False, "staleness": 0} | fields), calls=(own,))
        for i, reward in enumerate(rewards)
    )
    return Group(name, name, 0.5, members, 1)


def examples(
    groups: list[Group], min_reward: float, most: int
) -> tuple[dict[str, list[str]], dict[str, int]]:
    learning = learn_from(Batch(1, "batch", tuple(groups)), 0.1, "group_std")
    rewards = {m.rollout_id: m.reward for g in groups for m in g.members if m.reward is not None}
    chosen = choose_examples(learning, rewards, min_reward, most)
    assert all(m.advantage == 1 for g in chosen.groups for m in g.members)
    assert all(g.weight == 0.5 for g in chosen.groups)
    return {g.group_id: [m.rollout_id for m in g.members] for g in chosen.groups}, chosen.dropped


def test_examples_are_the_best_above_their_groups_mean_and_the_threshold() -> None:
    # a: mean .5, so .9, .8 and .6 are above it; b: mean .3, its best is below the threshold of .55.
    # c: equal rewards say nothing. d: mean .525, of three equal ones the first two in the batch's order.
    groups = [
        a_group("a", [0.6, 0.1, None, 0.9, 0.8, 0.1]),
        a_group("b", [0.5, 0.1]),
        a_group("c", [0.9, 0.9]),
        a_group("d", [0.7, 0.7, 0.0, 0.7]),
    ]
    chosen, dropped = examples(groups, min_reward=0.55, most=2)
    assert chosen == {"a": ["a3", "a4"], "d": ["d0", "d1"]}
    assert dropped == {"no_good_member": 1, "zero_variance": 1}
    assert examples(groups, min_reward=0.55, most=8)[0]["a"] == ["a3", "a4", "a0"]
    # The mean of these is .2, computed as a little less: .2 is not above it.
    assert examples([a_group("e", [0.1, 0.3, 0.2])], min_reward=0, most=8)[0] == {"e": ["e1"]}
    assert examples(groups, min_reward=0.7, most=8)[0] == {"a": ["a3", "a4"], "d": ["d0", "d1", "d3"]}


def test_what_is_kept_out_of_losses_is_no_example() -> None:
    assert examples([a_group("a", [0.9, 0.1], excluded_from_loss=True)], 0, 8) == ({}, {"no_loss_member": 1})
    assert examples([a_group("a", [0.9, 0.1], staleness=5)], 0, 8) == ({}, {"no_loss_member": 1})


def test_the_loss_is_the_mean_negative_likelihood_as_groups_weigh_it() -> None:
    # π = .5, .25, .125 of three tokens, the last one of a group of weight .5:
    #   L = -(ln .5 + ln .25 + .5 ln .125) / 3 = (1 + 2 + 1.5) ln 2 / 3 = 1.5 ln 2 = 1.0397207708
    # dL/dlogπ = -w/3, whatever the sampler's logprobs are.
    logp = torch.tensor([0.5, 0.25, 0.125], dtype=torch.float64).log().requires_grad_()
    weight = torch.tensor([1.0, 1.0, 0.5], dtype=torch.float64)
    tokens = Tokens(torch.tensor([-9.0, -8.0, -7.0]), torch.ones(3), weight, torch.tensor([0, 0, 1]))
    loss = likelihood_loss(logp, tokens, 3)
    assert loss.item() == pytest.approx(1.0397207708, rel=1e-9)
    (gradient,) = torch.autograd.grad(loss, logp)
    assert gradient.tolist() == pytest.approx([-1 / 3, -1 / 3, -1 / 6])


def test_examples_become_likelier_than_what_was_passed_over(make_run: MakeRun) -> None:
    run = make_run(**SFT, minibatches_per_batch=4)
    model = tiny_model()
    write_batch(run, 1, sampled_groups(model, rewarded_tokens, groups=8))
    assert train(run).step == 4
    tuned = PeftModel.from_pretrained(tiny_model(), run / "adapter-1")
    batch = read_batch(run, 1)
    assert batch is not None
    rewards = {m.rollout_id: m.reward or 0.0 for g in batch.groups for m in g.members}
    chosen = choose_examples(learn_from(batch, 0.1, "group_std"), rewards, 0, 4)
    named = {m.rollout_id for g in chosen.groups for m in g.members}
    everyone = [m for g in batch.groups for m in g.members]
    gain = {m.rollout_id: likelihood(tuned, m) - likelihood(model, m) for m in everyone}
    good = mean(gain[m.rollout_id] for m in everyone if m.rollout_id in named)
    rest = mean(gain[m.rollout_id] for m in everyone if m.rollout_id not in named)
    assert good > 0.1
    assert good > rest + 0.1


@torch.no_grad()
def likelihood(model: Any, member: Member) -> float:
    """Mean logprob of the member's sampled tokens."""
    (own,) = member.calls
    ids = torch.tensor([own.prompt_token_ids + own.completion_token_ids])
    logp = torch.log_softmax(model(input_ids=ids).logits[0], -1)
    begin = len(own.prompt_token_ids)
    return logp[begin - 1 : -1].gather(1, ids[0, begin:, None]).mean().item()


def mean(values: Any) -> float:
    held = list(values)
    return sum(held) / len(held)
