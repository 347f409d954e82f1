"""The three-policy form: the trainer's own policy at the batch's start stands between sampler and trained policy. Pure.

Sampler μ and trainer compute the same weights with other kernels, so π_old ≠ μ before any step. With two policies
ρ = π_θ/μ mends that gap and limits the step at once. With three (decoupled PPO, arXiv 2110.00641) ρ = π_θ/π_old limits
the step alone and the truncated weight min(π_old/μ, cap) mends the gap; a sequence whose gap is too wide is left out.
"""

import math
from collections.abc import Iterator
from collections.abc import Sequence as Seq
from dataclasses import dataclass, replace
from itertools import islice

from nightshift_trainer.config import Correction
from nightshift_trainer.types import Learning, LearningGroup, LossMember, Proximal, Sequence

MASKED = "geometric_mask"
"""Why a group was dropped of which no sequence is left."""


@dataclass(frozen=True, slots=True)
class CorrectionReport:
    """What the correction did to a batch. The weights' figures are over tokens that stay in the loss and have one."""

    sequences_masked: int
    tokens_masked: int
    tis_weight_mean: float | None
    tis_truncated_share: float | None


def log_geometric_ratio(old_logprobs: Seq[float], sampler_logprobs: Seq[float]) -> float:
    """mean(log π_old − log μ): the logarithm of the geometric mean of a sequence's ratios, whatever its length."""
    gaps = [old - mu for old, mu in zip(old_logprobs, sampler_logprobs, strict=True)]
    return math.fsum(gaps) / len(gaps)


def tis_weights(old_logprobs: Seq[float], sampler_logprobs: Seq[float], cap: float) -> tuple[float, ...]:
    """min(π_old/μ, cap) of every token: importance sampling, truncated."""
    gaps = (old - mu for old, mu in zip(old_logprobs, sampler_logprobs, strict=True))
    # What is far less likely for the sampler has a ratio that no float holds.
    return tuple(cap if gap >= math.log(cap) else math.exp(gap) for gap in gaps)


def correct(
    learning: Learning, old_logprobs: Seq[float], correction: Correction
) -> tuple[Learning, CorrectionReport]:
    """Gives every sequence its `proximal`, or masks it. `old_logprobs` run over all sequences in order.

    A masked sequence's tokens still count in the normaliser, so that a mask only takes away from the gradient: it is a
    weight of 0 in a mean over what was sampled, and the survivors do not grow by what their neighbours lost. So a group
    of which nothing is left stays among the groups (`is_masked`), though it is counted as dropped.

    Members that an earlier adapter sampled keep the two-policy form: π_old is not the policy that sampled them, so its
    distance from μ is their age, which ρ = π_θ/μ corrects.
    """
    values = iter(old_logprobs)
    corrected = [_group(group, values, correction) for group in learning.groups]
    assert next(values, None) is None, "more logprobs than tokens"
    dropped = dict(learning.dropped)
    if masked := sum(group.is_masked for group in corrected):
        dropped[MASKED] = masked
    report = _report(learning, corrected, correction)
    return replace(learning, groups=tuple(corrected), dropped=dict(sorted(dropped.items()))), report


def _group(group: LearningGroup, values: Iterator[float], correction: Correction) -> LearningGroup:
    return replace(group, members=tuple(_member(m, values, correction) for m in group.members))


def _member(member: LossMember, values: Iterator[float], correction: Correction) -> LossMember:
    kept: list[Sequence] = []
    masked = 0
    for sequence in member.sequences:
        old = tuple(islice(values, len(sequence.positions)))
        mu = sequence.sampler_logprobs
        if member.staleness > 0:
            kept.append(sequence)
        elif math.log(correction.mask_low) <= log_geometric_ratio(old, mu) <= math.log(correction.mask_high):
            kept.append(replace(sequence, proximal=Proximal(old, tis_weights(old, mu, correction.tis_cap))))
        else:
            masked += len(sequence.positions)
    return replace(member, sequences=tuple(kept), masked_tokens=masked)


def _report(before: Learning, after: Seq[LearningGroup], correction: Correction) -> CorrectionReport:
    kept = [s for group in after for member in group.members for s in member.sequences]
    weights = [w for s in kept if s.proximal is not None for w in s.proximal.weights]
    return CorrectionReport(
        sequences_masked=sum(len(m.sequences) for g in before.groups for m in g.members) - len(kept),
        tokens_masked=sum(m.masked_tokens for g in after for m in g.members),
        tis_weight_mean=math.fsum(weights) / len(weights) if weights else None,
        tis_truncated_share=sum(w == correction.tis_cap for w in weights) / len(weights) if weights else None,
    )
