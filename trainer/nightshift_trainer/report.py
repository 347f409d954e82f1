"""What a step saw, and what of that stops it: agreement with the sampler, distance from it, clipped tokens."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nightshift_trainer.config import Loss
from nightshift_trainer.errors import DatasetError
from nightshift_trainer.loss import Tokens, sequence_log_ratio
from nightshift_trainer.types import Learning

MAX_MEAN_K3 = 0.03
MAX_RATIO_P95 = 2.0


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step saw, over its sampled tokens. `stopped` says why the weights were left alone, if they were.

    Ratios are those of the loss: against the sampler, or against π_old in the three-policy form; k3 is against the
    sampler in both. The mean |Δ| and the correlation compare π_θ with the sampler on members that the current adapter
    sampled. They measure trainer against sampler only in a batch's first step, before any update, and are None without
    such members.
    """

    loss: float
    sampled_tokens: int
    logical_tokens: int
    physical_tokens: int
    seconds: float
    ratio_mean: float
    ratio_p95: float
    clipped_share: float
    k3: float
    kl_to_base: float | None
    entropy: float
    logprob_mean_abs_delta: float | None
    logprob_correlation: float | None
    learning_rate: float
    grad_norm: float
    stopped: str | None
    preference_margin: float | None = None
    """DPO's mean margin, before the step. None for other objectives."""


@dataclass(slots=True)
class Seen:
    """Per-token values of the minibatch, one entry per micro-batch."""

    logp: list[Tensor] = field(default_factory=list)
    sampler: list[Tensor] = field(default_factory=list)
    anchor: list[Tensor] = field(default_factory=list)
    entropy: list[Tensor] = field(default_factory=list)
    reference: list[Tensor] = field(default_factory=list)
    fresh: list[Tensor] = field(default_factory=list)
    clipped: list[Tensor] = field(default_factory=list)
    loss: float = 0.0
    physical_tokens: int = 0


def agreement(logp_T: Tensor, sampler_T: Tensor) -> tuple[float | None, float | None]:
    """(mean |Δ|, correlation) of trainer and sampler; None without tokens, no correlation where a side is constant."""
    if len(logp_T) == 0:
        return None, None
    delta = (logp_T - sampler_T).abs().mean().item()
    if len(logp_T) == 1:
        return delta, None
    correlation = torch.corrcoef(torch.stack([logp_T, sampler_T]))[0, 1].item()
    return delta, None if math.isnan(correlation) else correlation


def require_agreement(delta: float | None, bound: float) -> None:
    """Raises DatasetError for a mean |Δ| above the bound (or none that is a number)."""
    if delta is not None and not delta <= bound:
        raise DatasetError(
            f"mean |trainer - sampler| logprob is {delta:.4f}, the bound is {bound:.4g}: "
            "the batch was sampled with another adapter, template or base than the run trains"
        )


def stop_reason(kind: str, mean_k3: float, ratio_p95: float) -> str | None:
    """CISPO has no trust region of its own: past these bounds the batch is too far from its sampler to learn from."""
    if kind == "cispo" and mean_k3 > MAX_MEAN_K3:
        return f"mean k3 {mean_k3:.4f} > {MAX_MEAN_K3}"
    if kind == "cispo" and ratio_p95 > MAX_RATIO_P95:
        return f"ratio p95 {ratio_p95:.3f} > {MAX_RATIO_P95}"
    return None


def clipped(log_ratio_T: Tensor, tokens: Tokens, loss: Loss | None) -> Tensor:
    """Which tokens' ratios the loss cuts; none where there is no ratio in it."""
    if loss is None:
        return torch.zeros_like(log_ratio_T, dtype=torch.bool)
    if loss.kind == "gspo":
        log_ratio_T = sequence_log_ratio(log_ratio_T, tokens.sequence_T)
    ratio_T = log_ratio_T.exp()
    if loss.kind == "cispo":
        return ratio_T > loss.ratio_cap
    return (ratio_T < 1 - loss.clip_low) | (ratio_T > 1 + loss.clip_high)


def iteration_metrics(learning: Learning, reports: tuple[StepReport, ...]) -> dict[str, Any]:
    """The batch's rewards and groups, and its steps together: means weighted by sampled tokens, the largest p95, the
    first step's agreement with the sampler. Nothing of the clock, so that the same run gives the same manifest."""
    tokens = sum(report.sampled_tokens for report in reports)

    def mean(field: str) -> float | None:
        values = [(getattr(r, field), r.sampled_tokens) for r in reports]
        return (
            math.fsum(v * n for v, n in values) / tokens
            if tokens and all(v is not None for v, _ in values)
            else None
        )

    return {
        "reward_mean": learning.reward_mean,
        "reward_spread": learning.reward_spread,
        "groups_kept": sum(not group.is_masked for group in learning.groups),
        "groups_dropped": learning.dropped,
        "members_in_loss": sum(bool(m.sequences) for group in learning.groups for m in group.members),
        "members_masked": learning.masked_members,
        "members_excluded": learning.excluded_members,
        "members_without_probability": learning.members_without_probability,
        "steps": sum(report.stopped is None for report in reports),
        "stopped": next((report.stopped for report in reports if report.stopped), None),
        "sampled_tokens": tokens,
        "logical_tokens": sum(report.logical_tokens for report in reports),
        "physical_tokens": sum(report.physical_tokens for report in reports),
        **{
            name: mean(name)
            for name in (
                *("ratio_mean", "clipped_share", "k3", "kl_to_base", "entropy", "grad_norm"),
                "preference_margin",
            )
        },
        "ratio_p95": max((report.ratio_p95 for report in reports), default=None),
        "logprob_mean_abs_delta": reports[0].logprob_mean_abs_delta if reports else None,
        "logprob_correlation": reports[0].logprob_correlation if reports else None,
    }
