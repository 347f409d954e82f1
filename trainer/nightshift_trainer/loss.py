"""The losses: tensors in, tensors out. `_T` runs over sampled tokens of any number of members.

All are sums over tokens divided by `normalizer`: the sampled tokens of *all* loss members of the optimiser batch. So
the loss of micro-batches adds up to the loss of the batch however it is cut. The ratio ρ is against an anchor: the
sampler's own logprob μ, which also corrects the numerical mismatch between sampler and trainer; or π_old, the trainer's
before the batch's first step, where each token's weight corrects that mismatch (`correction.py`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the loss needs of the sampled tokens, next to the policy's logprobs."""

    anchor_logp_T: Tensor
    """What the ratio is taken against."""
    advantage_T: Tensor
    weight_T: Tensor
    """The weight of each token's group, times the token's own in the three-policy form."""
    sequence_T: Tensor
    """Which sequence each token is of, counted from 0."""


def kl_shaped_advantage(advantage_T: Tensor, logp_T: Tensor, reference_logp_T: Tensor, beta: float) -> Tensor:
    """Â = A − β·sg[logπ − logπ_ref]: KL to the base as a penalty in the advantage. Its gradient is the reverse KL's
    (k1 in the reward), which k3 as a loss term is not."""
    return advantage_T - beta * (logp_T.detach() - reference_logp_T)


def cispo_loss(logp_T: Tensor, tokens: Tokens, normalizer: float, ratio_cap: float) -> Tensor:
    """L = −1/N Σ w · sg[min(ρ, cap)] · Â · logπ (MiniMax-M1, arXiv 2506.13585).

    The ratio only weighs the gradient; every token keeps one, which a clip takes from the tokens that moved most.
    """
    ratio_T = torch.exp(logp_T.detach() - tokens.anchor_logp_T).clamp(max=ratio_cap)
    return -(tokens.weight_T * ratio_T * tokens.advantage_T * logp_T).sum() / normalizer


def grpo_clip_loss(
    logp_T: Tensor, tokens: Tokens, normalizer: float, clip_low: float, clip_high: float
) -> Tensor:
    """L = −1/N Σ w · min(ρ·Â, clip(ρ, 1 − low, 1 + high)·Â) (PPO; asymmetric as in DAPO, arXiv 2503.14476)."""
    ratio_T = torch.exp(logp_T - tokens.anchor_logp_T)
    clipped_T = ratio_T.clamp(1 - clip_low, 1 + clip_high)
    surrogate_T = torch.minimum(ratio_T * tokens.advantage_T, clipped_T * tokens.advantage_T)
    return -(tokens.weight_T * surrogate_T).sum() / normalizer


def gspo_loss(logp_T: Tensor, tokens: Tokens, normalizer: float, clip_low: float, clip_high: float) -> Tensor:
    """L = −1/N Σ w · min(s·Â, clip(s, 1 − low, 1 + high)·Â), one ratio per sequence: s = (ρ of the whole)^(1/length)
    (GSPO, arXiv 2507.18071, in the form in which tokens may differ in advantage: sg[s]·π/sg[π]).

    Sequences are so close to their sampler in this measure that clips are of the order of 1e-4, not of 0.2.
    """
    own_T = sequence_log_ratio(logp_T.detach() - tokens.anchor_logp_T, tokens.sequence_T)
    ratio_T = torch.exp(own_T + logp_T - logp_T.detach())
    clipped_T = ratio_T.clamp(1 - clip_low, 1 + clip_high)
    surrogate_T = torch.minimum(ratio_T * tokens.advantage_T, clipped_T * tokens.advantage_T)
    return -(tokens.weight_T * surrogate_T).sum() / normalizer


def sequence_log_ratio(log_ratio_T: Tensor, sequence_T: Tensor) -> Tensor:
    """Each token's sequence's mean of `log_ratio_T`."""
    sequences = int(sequence_T.max()) + 1
    sum_S = torch.zeros(sequences, dtype=log_ratio_T.dtype, device=log_ratio_T.device)
    sum_S = sum_S.index_add(0, sequence_T, log_ratio_T)
    return (sum_S / torch.bincount(sequence_T, minlength=sequences))[sequence_T]


def k3(log_ratio_T: Tensor) -> Tensor:
    """Per token ρ − 1 − log ρ: unbiased for KL(μ‖π) on tokens sampled from μ, and never negative (Schulman's k3)."""
    return torch.expm1(log_ratio_T) - log_ratio_T


def likelihood_loss(logp_T: Tensor, tokens: Tokens, normalizer: float) -> Tensor:
    """L = −1/N Σ w · A · logπ, no ratio in it: SFT with A = 1 and N tokens; DPO's gradient with A = ±β·σ(−margin) and N
    pairs (`dpo.py`)."""
    return -(tokens.weight_T * tokens.advantage_T * logp_T).sum() / normalizer
