"""What a step saw, and what of that stops it: agreement with the sampler, distance from it, clipped tokens."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nightshift_trainer.config import Loss
from nightshift_trainer.errors import DatasetError
from nightshift_trainer.loss import Tokens, sequence_log_ratio

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


def clipped(log_ratio_T: Tensor, tokens: Tokens, loss: Loss) -> Tensor:
    """Which tokens' ratios the loss cuts."""
    if loss.kind == "gspo":
        log_ratio_T = sequence_log_ratio(log_ratio_T, tokens.sequence_T)
    ratio_T = log_ratio_T.exp()
    if loss.kind == "cispo":
        return ratio_T > loss.ratio_cap
    return (ratio_T < 1 - loss.clip_low) | (ratio_T > 1 + loss.clip_high)
