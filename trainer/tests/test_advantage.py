"""Advantages by hand, what is kept and dropped, how calls become sequences."""

import json
import math
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightshift_trainer.advantage import (
    deviation_of_batch,
    group_advantages,
    learn_from,
    merge_calls,
    minibatches,
    sabotage,
)
from nightshift_trainer.types import Batch, Call, Group, LearningGroup, Member

ROOT = Path(__file__).parents[2]
PROBABILITIES: list[dict[str, Any]] = json.loads(
    (ROOT / "test/fixtures/batch/probability.json").read_text(encoding="utf-8")
)


def a_call(prompt: tuple[int, ...], completion: tuple[int, ...]) -> Call:
    return Call(prompt, completion, (-1.0,) * len(completion), "stop", "base", 1.0)


def a_member(name: str, reward: float | None, excluded: bool = False, staleness: int = 0) -> Member:
    return Member(name, reward, excluded, staleness, (a_call((1,), (2, 3)),))


def a_batch(*groups: tuple[Member, ...], weight: float = 1.0) -> Batch:
    return Batch(
        1, "batch-1/groups.jsonl.gz", tuple(Group(f"g{i}", "s", weight, g, i) for i, g in enumerate(groups))
    )


def test_by_hand() -> None:
    # Rewards 1, 0: mean 0.5, std (divisor 2) 0.5; 2/1 * (+-0.5) / 0.5 = +-2.
    assert group_advantages([1, 0], 0.1, "group_std") == (2, -2)
    # Rewards .5 .51 .52: mean .51, std .008165 < 0.1, so the floor: 3/2 * (-.01, 0, .01) / 0.1 = -.15, 0, .15.
    assert group_advantages([0.5, 0.51, 0.52], 0.1, "group_std") == pytest.approx((-0.15, 0, 0.15), abs=1e-12)
    # Rewards 1 0 0 0: mean .25, std sqrt(3)/4 = .4330127; 4/3 * .75 / std = 2.3094011, 4/3 * -.25 / std = -.7698004.
    assert group_advantages([1, 0, 0, 0], 0.1, "group_std") == pytest.approx(
        (2.3094011, *[-0.7698004] * 3), rel=1e-7
    )
    # Without the division: 4/3 * (.75, -.25).
    assert group_advantages([1, 0, 0, 0], 0.1, "none") == pytest.approx((1, -1 / 3, -1 / 3, -1 / 3))


def test_one_deviation_for_the_batch_by_hand() -> None:
    # Distances from the own mean: .5 .5 | .75 .25 .25 .25 | a group of one counts for nothing.
    # sqrt((2*.25 + .5625 + 3*.0625) / 6) = sqrt(1.25/6) = .4564355
    assert deviation_of_batch([[1, 0], [1, 0, 0, 0], [1]]) == pytest.approx(0.4564355, rel=1e-6)
    assert deviation_of_batch([[1], []]) == 0
    # 2 * .5 / .4564355; a deviation below the floor is the floor.
    assert group_advantages([1, 0], 0.1, "batch_std", 0.4564355)[0] == pytest.approx(2.1908903, rel=1e-6)
    assert group_advantages([1, 0], 0.5, "batch_std", 0.01) == (2, -2)
    batch = a_batch(
        (a_member("a", 1), a_member("b", 0)),
        tuple(a_member(n, r) for n, r in zip("cdef", (1, 0, 0, 0), strict=True)),
    )
    (first, second) = learn_from(batch, 0.1, "batch_std").groups
    assert first.members[0].advantage == pytest.approx(2.1908903, rel=1e-6)
    assert second.members[0].advantage == pytest.approx(4 / 3 * 0.75 / 0.4564355, rel=1e-6)


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=16), st.floats(-5, 5))
def test_they_sum_to_zero_and_ignore_a_constant(rewards: list[float], shift: float) -> None:
    advantages = group_advantages(rewards, 0.1, "group_std")
    assert sum(advantages) == pytest.approx(0, abs=1e-6)
    moved = group_advantages([r + shift for r in rewards], 0.1, "group_std")
    assert moved == pytest.approx(advantages, abs=1e-6)


def test_masked_members_are_in_no_statistic_and_excluded_ones_only_in_the_baseline() -> None:
    batch = a_batch(
        (
            a_member("a", 1),
            a_member("b", None),
            a_member("c", 0, excluded=True),
            a_member("d", 0, staleness=5),
        )
    )
    learning = learn_from(batch, 0.1, "group_std")
    # Over 1, 0, 0: mean 1/3, std sqrt(2)/3; 3/2 * (2/3) / (sqrt(2)/3) = 2.1213203.
    (kept,) = learning.groups
    assert [(m.rollout_id, m.advantage) for m in kept.members] == [("a", pytest.approx(2.1213203))]
    assert (learning.masked_members, learning.excluded_members) == (1, 2)
    assert learning.reward_mean == pytest.approx(1 / 3)
    assert learning.reward_spread == pytest.approx(2**0.5 / 3)


def test_a_member_whose_sampler_had_no_probability_stays_in_the_baseline_only() -> None:
    def one(name: str, reward: float | None, *logprobs: float) -> Member:
        return replace(a_member(name, reward), calls=(replace(a_call((1,), (2, 3)), logprobs=logprobs),))

    members = (
        one("a", 1, -1, -1),
        one("b", 0, -1, -9999),
        one("c", 0, -104.5, -1),
        one("d", None, -1, -9999),
    )
    learning = learn_from(a_batch(members), 0.1, "group_std")
    # Over 1, 0, 0, as if all had a ratio: 3/2 * (2/3) / (sqrt(2)/3) = 2.1213203.
    (kept,) = learning.groups
    assert [(m.rollout_id, m.advantage) for m in kept.members] == [("a", pytest.approx(2.1213203))]
    assert (learning.masked_members, learning.excluded_members) == (1, 2)
    assert learning.members_without_probability == 2
    assert learn_from(a_batch((*members[1:3], one("e", 1, -9999, -1))), 0.1, "group_std").dropped == {
        "no_loss_member": 1
    }


@pytest.mark.parametrize("case", PROBABILITIES, ids=lambda case: str(case["logprob"]))
def test_where_a_probability_ends_is_the_same_on_both_sides(case: dict[str, Any]) -> None:
    member = replace(a_member("a", 1), calls=(replace(a_call((1,), (2,)), logprobs=(case["logprob"],)),))
    assert member.lacks_probability == case["lacks"]
    # What a server draws from: float32.
    assert (struct.unpack("f", struct.pack("f", math.exp(case["logprob"])))[0] == 0) == case["lacks"]


def test_groups_without_signal_are_dropped_by_reason() -> None:
    equal = (a_member("a", 0.3), a_member("b", 0.3))
    alone = (a_member("a", 1), a_member("b", None))
    spared = (a_member("a", 1, excluded=True), a_member("b", 0, staleness=9))
    learning = learn_from(a_batch(equal, equal, alone, spared), 0.1, "group_std")
    assert learning.groups == ()
    assert learning.dropped == {"no_loss_member": 1, "too_few_members": 1, "zero_variance": 2}
    weightless = learn_from(a_batch((a_member("a", 1), a_member("b", 0)), weight=0), 0.1, "group_std")
    assert weightless.dropped == {"zero_weight": 1}


def test_calls_that_continue_are_one_sequence() -> None:
    first, second = a_call((1, 2), (3, 4)), a_call((1, 2, 3, 4, 9), (5,))
    (one,) = merge_calls([first, second])
    assert (one.token_ids, one.positions) == ((1, 2, 3, 4, 9, 5), (2, 3, 5))
    assert len(one.sampler_logprobs) == len(one.temperatures) == 3
    # The third was re-tokenised (8 for 3): it starts a sequence of its own.
    two = merge_calls([first, second, a_call((1, 2, 8, 4, 9, 5, 7), (6,))])
    assert [s.token_ids for s in two] == [(1, 2, 3, 4, 9, 5), (1, 2, 8, 4, 9, 5, 7, 6)]
    assert two[1].positions == (7,)


@given(st.integers(1, 20), st.integers(1, 4), st.integers(0, 5))
def test_minibatches_hold_every_group_once(groups: int, count: int, seed: int) -> None:
    every = [LearningGroup(str(i), 1, ()) for i in range(groups)]
    parts = minibatches(every, count, seed, 1)
    assert sorted(g.group_id for part in parts for g in part) == sorted(g.group_id for g in every)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert parts == minibatches(every, count, seed, 1)


def test_sabotage_keeps_the_masked_and_turns_the_rest() -> None:
    batch = a_batch((a_member("a", 0.9), a_member("b", None), a_member("c", 0.1), a_member("d", 0.2)))

    def rewards(kind: str) -> list[float | None]:
        return [m.reward for m in sabotage(batch, kind, 1).groups[0].members]

    assert rewards("invert_rewards") == [pytest.approx(0.1), None, pytest.approx(0.9), pytest.approx(0.8)]
    shuffled = rewards("shuffle_rewards")
    assert shuffled[1] is None
    assert sorted(r for r in shuffled if r is not None) == [0.1, 0.2, 0.9]
    assert shuffled == rewards("shuffle_rewards")


def test_the_pure_modules_need_no_torch() -> None:
    modules = ", ".join(
        f"nightshift_trainer.{m}" for m in ("config", "types", "batch", "advantage", "process")
    )
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=False).returncode
        == 0
    )
