"""Rewards to advantages, groups to what is learned from them. Pure; the only owner of these numbers."""

import math
import random
from collections import Counter
from collections.abc import Sequence as Seq
from dataclasses import replace

from nightshift_trainer.types import Batch, Call, Group, Learning, LearningGroup, LossMember, Member, Sequence

STALENESS_CAP = 4
"""Members sampled more adapter versions ago than this stay in the baseline and leave the loss."""


def group_advantages(
    rewards: Seq[float], std_floor: float, normalization: str, batch_std: float | None = None
) -> tuple[float, ...]:
    """A_i = n/(n−1) · (r_i − mean) / max(std, floor), with std of divisor n; zeros for equal rewards.

    n/(n−1) makes the baseline the mean of the *other* members, so a member's own reward is not in it. The floor keeps a
    group of .50/.51/.52 from counting as much as one of 0/1. With `normalization="batch_std"` the std is `batch_std`,
    one for all groups, so that easy and hard scenarios are not blown up to the size of mixed ones; `"none"` leaves the
    division out (Dr. GRPO).
    """
    n = len(rewards)
    if n < 2:
        raise ValueError("a baseline needs two members")
    mean = math.fsum(rewards) / n
    std = batch_std if normalization == "batch_std" and batch_std is not None else _std(rewards)
    scale = 1.0 if normalization == "none" else max(std, std_floor)
    return tuple(n / (n - 1) * (r - mean) / scale for r in rewards)


def deviation_of_batch(rewards_by_group: Seq[Seq[float]]) -> float:
    """Root of the mean squared distance of a member's reward from its own group's mean, over groups of two and more."""
    groups = [rewards for rewards in rewards_by_group if len(rewards) > 1]
    squares = [(r - math.fsum(rewards) / len(rewards)) ** 2 for rewards in groups for r in rewards]
    return math.sqrt(math.fsum(squares) / len(squares)) if squares else 0.0


def learn_from(batch: Batch, std_floor: float, normalization: str) -> Learning:
    """Keeps the groups that carry signal. Dropped ones are counted by reason:

    too_few_members (fewer than two unmasked), zero_variance, zero_weight, no_loss_member.
    """
    kept: list[LearningGroup] = []
    dropped: Counter[str] = Counter()
    rewards_by_group = [[m.reward for m in g.members if m.reward is not None] for g in batch.groups]
    batch_std = deviation_of_batch(rewards_by_group)
    for group, rewards in zip(batch.groups, rewards_by_group, strict=True):
        reason = _drop_reason(group, rewards)
        if reason is not None:
            dropped[reason] += 1
            continue
        advantages = iter(group_advantages(rewards, std_floor, normalization, batch_std))
        scored = [(m, next(advantages)) for m in group.members if not m.masked]
        members = tuple(
            LossMember(m.rollout_id, advantage, m.staleness, merge_calls(m.calls))
            for m, advantage in scored
            if _in_loss(m)
        )
        kept.append(LearningGroup(group.group_id, group.weight, members))
    everyone = [m for g in batch.groups for m in g.members]
    every_reward = [r for rewards in rewards_by_group for r in rewards]
    return Learning(
        groups=tuple(kept),
        dropped=dict(sorted(dropped.items())),
        masked_members=sum(m.masked for m in everyone),
        excluded_members=sum(not m.masked and not _in_loss(m) for m in everyone),
        members_without_probability=sum(not m.masked and m.lacks_probability for m in everyone),
        reward_mean=_mean(every_reward),
        reward_spread=_mean([_std(rewards) for rewards in rewards_by_group if rewards]),
    )


def merge_calls(calls: Seq[Call]) -> tuple[Sequence, ...]:
    """Lays calls end to end: a call whose prompt starts with everything so far continues it, any other starts anew."""
    sequences: list[Sequence] = []
    for call in calls:
        so_far = sequences[-1].token_ids if sequences else ()
        begins = len(call.prompt_token_ids)
        own = Sequence(
            token_ids=call.prompt_token_ids + call.completion_token_ids,
            positions=tuple(range(begins, begins + len(call.completion_token_ids))),
            sampler_logprobs=call.logprobs,
            temperatures=(call.temperature,) * len(call.completion_token_ids),
        )
        if sequences and call.prompt_token_ids[: len(so_far)] == so_far:
            before = sequences.pop()
            own = Sequence(
                token_ids=own.token_ids,
                positions=before.positions + own.positions,
                sampler_logprobs=before.sampler_logprobs + own.sampler_logprobs,
                temperatures=before.temperatures + own.temperatures,
            )
        sequences.append(own)
    return tuple(sequences)


def minibatches(
    groups: Seq[LearningGroup], count: int, seed: int, iteration: int
) -> list[list[LearningGroup]]:
    """Whole groups over at most `count` steps of nearly equal size; the order is drawn from (seed, iteration)."""
    order = list(groups)
    random.Random(f"minibatches/{seed}/{iteration}").shuffle(order)
    count = min(count, len(order))
    return [order[i * len(order) // count : (i + 1) * len(order) // count] for i in range(count)]


def sabotage(batch: Batch, kind: str, seed: int) -> Batch:
    """Fault injection: rewards of a group shuffled among its unmasked members, or mirrored inside its range."""
    return replace(batch, groups=tuple(_sabotage_group(g, kind, seed, batch.iteration) for g in batch.groups))


def _sabotage_group(group: Group, kind: str, seed: int, iteration: int) -> Group:
    rewards = [m.reward for m in group.members if m.reward is not None]
    if kind == "shuffle_rewards":
        random.Random(f"sabotage/{seed}/{iteration}/{group.group_id}").shuffle(rewards)
    elif rewards:
        rewards = [max(rewards) + min(rewards) - r for r in rewards]
    changed = iter(rewards)
    return replace(
        group, members=tuple(m if m.masked else replace(m, reward=next(changed)) for m in group.members)
    )


def _drop_reason(group: Group, rewards: list[float]) -> str | None:
    if len(rewards) < 2:
        return "too_few_members"
    if max(rewards) == min(rewards):
        return "zero_variance"
    if group.weight == 0:
        return "zero_weight"
    return None if any(_in_loss(m) for m in group.members) else "no_loss_member"


def _in_loss(member: Member) -> bool:
    """A member without a ratio was rewarded for what it did: it stays in the baseline, as one that is too old does."""
    if member.masked or member.excluded_from_loss:
        return False
    return member.staleness <= STALENESS_CAP and not member.lacks_probability


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _std(values: Seq[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))
