"""Direct preference optimisation from ranked groups (arXiv 2305.18290): the better member of a pair against the worse.

The reference π_ref is the adapter at the start of the iteration. A member that this very adapter sampled carries its
logprobs already: the sampler's μ. They cost no forward pass and are the same after a crash in mid-iteration, when the
weights of the start are gone from memory; that they are the trainer's own to within the bound is what the logprob gate
checks before anything moves. So only members of staleness 0 are paired.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass, replace

import torch

from nightshift_trainer.forward import micro_batches, report_memory, token_logprobs
from nightshift_trainer.lora import Policy
from nightshift_trainer.types import ROUNDING, Learning, LearningGroup, LossMember, Sequence


@dataclass(frozen=True, slots=True)
class Weighed:
    """Groups whose members' advantages are the loss's own gradient, and what the loss is at these weights."""

    groups: list[LearningGroup]
    loss: float
    margin: float
    """Mean over the pairs of β·(Δ of the better − Δ of the worse)."""


def choose_pairs(learning: Learning, rewards: Mapping[str, float], min_gap: float) -> Learning:
    """The best member of a group with its worst, the second best with the second worst, and so on for as long as their
    rewards are at least `min_gap` apart: every member is in one pair at most, so that no single one speaks for a group.

    A pair's two are neighbours, the better one first, with advantages +1 and −1. Groups without a pair are dropped as
    no_pair.
    """
    kept: list[LearningGroup] = []
    dropped = Counter(learning.dropped)
    for group in learning.groups:
        ranked = sorted((m for m in group.members if m.staleness == 0), key=lambda m: -rewards[m.rollout_id])
        paired: list[LossMember] = []
        for better, worse in zip(ranked[: len(ranked) // 2], ranked[::-1], strict=False):
            gap = rewards[better.rollout_id] - rewards[worse.rollout_id]
            if gap > 0 and gap >= min_gap - ROUNDING:
                paired += [replace(better, advantage=1.0), replace(worse, advantage=-1.0)]
        if paired:
            kept.append(replace(group, members=tuple(paired)))
        else:
            dropped["no_pair"] += 1
    return replace(learning, groups=tuple(kept), dropped=dict(sorted(dropped.items())))


def preference(margin: float) -> tuple[float, float]:
    """(−log σ(margin), σ(−margin)): a pair's loss, and how much of a push it gets. Neither overflows."""
    decay = math.exp(-abs(margin))
    loss = max(-margin, 0.0) + math.log1p(decay)
    return loss, (decay if margin > 0 else 1.0) / (1.0 + decay)


def weigh_pairs(
    policy: Policy, groups: Seq[LearningGroup], beta: float, budget_tokens: int, beat: Callable[[], None]
) -> Weighed:
    """L = −1/P Σ w · log σ(m) over the P pairs of `groups`, m = β·(Δ_better − Δ_worse), Δ = Σ_t (logπ − logμ) over a
    member's sampled tokens.

    A pair's two may run in different micro-batches, so the loss is taken apart: dL/dlogπ is −w·β·σ(−m)/P for every
    token of the better and the opposite for the worse. With that as advantages, the pairs' gradient is the one of
    weighed likelihood (`likelihood_loss` with P), whichever way the rows are cut. Raises OutOfMemoryError.
    """
    weighed: list[LearningGroup] = []
    losses: list[float] = []
    margins: list[float] = []
    for group in groups:
        shift = _log_ratios(policy, group.members, budget_tokens, beat)
        members: list[LossMember] = []
        for i in range(0, len(shift), 2):
            margin = beta * (shift[i] - shift[i + 1])
            loss, push = preference(margin)
            losses.append(group.weight * loss)
            margins.append(margin)
            better, worse = group.members[i : i + 2]
            members += [replace(better, advantage=beta * push), replace(worse, advantage=-beta * push)]
        weighed.append(replace(group, members=tuple(members)))
    pairs = len(margins)
    return Weighed(weighed, math.fsum(losses) / pairs, math.fsum(margins) / pairs)


@torch.no_grad()
def _log_ratios(
    policy: Policy, members: Seq[LossMember], budget_tokens: int, beat: Callable[[], None]
) -> list[float]:
    """Δ of each member; without dropout, since what is compared is what would be served."""
    rows: list[tuple[int, Sequence]] = [(i, s) for i, member in enumerate(members) for s in member.sequences]
    sums = [0.0] * len(members)
    with policy.without_dropout():
        for indices in micro_batches(policy.model, [sequence for _, sequence in rows], budget_tokens):
            beat()
            batch = [rows[i] for i in indices]
            sequences = [sequence for _, sequence in batch]
            with report_memory(policy.model, sequences):
                logp = token_logprobs(policy.model, sequences).logp_T.tolist()
            for i, sequence in batch:
                own, logp = logp[: len(sequence.positions)], logp[len(sequence.positions) :]
                pairs = zip(own, sequence.sampler_logprobs, strict=True)
                sums[i] += math.fsum(pi - mu for pi, mu in pairs)
    return sums
