"""One optimiser step over a minibatch of groups: forward, loss, backward, the checks before the weights move."""

import math
import time
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from nightshift_trainer.config import Loss, RunConfig
from nightshift_trainer.errors import DatasetError, OutOfMemoryError
from nightshift_trainer.forward import micro_batches, physical_tokens, token_logprobs
from nightshift_trainer.lora import Policy
from nightshift_trainer.loss import (
    Tokens,
    cispo_loss,
    grpo_clip_loss,
    gspo_loss,
    k3,
    kl_shaped_advantage,
    sequence_log_ratio,
)
from nightshift_trainer.types import LearningGroup, LossMember, Sequence

MAX_MEAN_K3 = 0.03
MAX_RATIO_P95 = 2.0


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step saw, over its sampled tokens. `stopped` says why the weights were left alone, if they were.

    The mean |Δ| and the correlation compare π_θ with the sampler on members that the current adapter sampled. They
    measure trainer against sampler only in a batch's first step, before any update, and are None without such members.
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
class _Seen:
    """Per-token values of the minibatch, one entry per micro-batch."""

    logp: list[Tensor]
    sampler: list[Tensor]
    entropy: list[Tensor]
    reference: list[Tensor]
    fresh: list[Tensor]
    clipped: list[Tensor]
    loss: float = 0.0
    physical_tokens: int = 0


def take_step(
    policy: Policy,
    optimizer: Optimizer,
    groups: Seq[LearningGroup],
    config: RunConfig,
    *,
    budget_tokens: int,
    step: int,
    first_of_batch: bool,
    beat: Callable[[float], None],
) -> StepReport:
    """Moves the adapter once, or not at all (`stopped`). `step` counts from 1; `beat` runs before every micro-batch and
    gets the share of rows that are done. Micro-batches are of at most `budget_tokens` physical tokens: raises
    OutOfMemoryError, before anything moved, when one does not fit.

    The batch's first step has seen no update since the batch was sampled, so its logprobs must agree with the
    sampler's: raises DatasetError above the bound, before anything moved.
    """
    began = time.monotonic()
    optimizer.zero_grad(set_to_none=True)
    seen = _accumulate(policy, groups, config, budget_tokens, beat)
    logp_T, sampler_T = torch.cat(seen.logp), torch.cat(seen.sampler)
    log_ratio_T = logp_T - sampler_T
    ratio_T = log_ratio_T.exp()
    fresh_T = torch.cat(seen.fresh)
    delta, correlation = _agreement(logp_T[fresh_T], sampler_T[fresh_T])
    if first_of_batch and delta is not None and not delta <= config.logprob_gate.max_mean_abs_delta:
        raise DatasetError(
            f"mean |trainer - sampler| logprob is {delta:.4f}, the bound is {config.logprob_gate.max_mean_abs_delta}: "
            "the batch was sampled with another adapter, template or base than the run trains"
        )
    mean_k3, ratio_p95 = k3(log_ratio_T).mean().item(), torch.quantile(ratio_T, 0.95).item()
    stopped = _stop_reason(config.loss.kind, mean_k3, ratio_p95)
    parameters = list(policy.parameters().values())
    norm = torch.nn.utils.clip_grad_norm_(parameters, config.optimizer.clip_norm, error_if_nonfinite=True)
    rate = learning_rate(config, step)
    if stopped is None:
        for parameter_group in optimizer.param_groups:
            parameter_group["lr"] = rate
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return StepReport(
        loss=seen.loss,
        sampled_tokens=len(logp_T),
        logical_tokens=sum(len(s.token_ids) for g in groups for m in g.members for s in m.sequences),
        physical_tokens=seen.physical_tokens,
        seconds=time.monotonic() - began,
        ratio_mean=ratio_T.mean().item(),
        ratio_p95=ratio_p95,
        clipped_share=torch.cat(seen.clipped).float().mean().item(),
        k3=mean_k3,
        kl_to_base=(logp_T - torch.cat(seen.reference)).mean().item() if seen.reference else None,
        entropy=torch.cat(seen.entropy).mean().item(),
        logprob_mean_abs_delta=delta,
        logprob_correlation=correlation,
        learning_rate=rate,
        grad_norm=norm.item(),
        stopped=stopped,
    )


def learning_rate(config: RunConfig, step: int) -> float:
    """Linear warm-up, then constant; `step` counts from 1."""
    warmup = config.optimizer.warmup_steps
    return config.optimizer.lr * min(1.0, step / (warmup + 1))


def _accumulate(
    policy: Policy,
    groups: Seq[LearningGroup],
    config: RunConfig,
    budget_tokens: int,
    beat: Callable[[float], None],
) -> _Seen:
    """Leaves the gradient of the whole minibatch's loss in the parameters."""
    seen = _Seen([], [], [], [], [], [])
    members = [member for group in groups for member in group.members]
    constant = config.loss.constant_length
    sampled = sum(len(s.positions) for member in members for s in member.sequences)
    normalizer = sampled if constant is None else len(members) * constant
    done, total = 0, sum(len(member.sequences) for member in members)
    for group in groups:
        rows = [(member, sequence) for member in group.members for sequence in member.sequences]
        sequences = [sequence for _, sequence in rows]
        for indices in micro_batches(policy.model, sequences, budget_tokens):
            beat(done / total)
            done += len(indices)
            batch = [rows[i] for i in indices]
            try:
                _micro_batch(policy, batch, group.weight, normalizer, config.loss, seen)
            except torch.OutOfMemoryError as error:
                tokens = physical_tokens(policy.model, [sequence for _, sequence in batch])
                raise OutOfMemoryError(len(batch), tokens, error) from error
    return seen


def _micro_batch(
    policy: Policy,
    rows: Seq[tuple[LossMember, Sequence]],
    weight: float,
    normalizer: int,
    loss: Loss,
    seen: _Seen,
) -> None:
    sequences = [sequence for _, sequence in rows]
    forward = token_logprobs(policy.model, sequences)
    logp_T = forward.logp_T

    def along_tokens(values: list[float]) -> Tensor:
        repeated = [v for v, s in zip(values, sequences, strict=True) for _ in s.positions]
        return torch.tensor(repeated, dtype=torch.float32, device=logp_T.device)

    advantage_T = along_tokens([member.advantage for member, _ in rows])
    sampler_T = torch.tensor([x for s in sequences for x in s.sampler_logprobs], device=logp_T.device)
    if loss.kl_beta > 0:
        with torch.no_grad(), policy.base():
            reference_T = token_logprobs(policy.model, sequences).logp_T
        advantage_T = kl_shaped_advantage(advantage_T, logp_T, reference_T, loss.kl_beta)
        seen.reference.append(reference_T)
    sequence_T = along_tokens([float(i) for i in range(len(rows))]).long()
    tokens = Tokens(sampler_T, advantage_T, along_tokens([weight] * len(rows)), sequence_T)
    if loss.kind == "cispo":
        value = cispo_loss(logp_T, tokens, normalizer, loss.ratio_cap)
    else:
        clip = grpo_clip_loss if loss.kind == "grpo" else gspo_loss
        value = clip(logp_T, tokens, normalizer, loss.clip_low, loss.clip_high)
    value.backward()
    seen.loss += value.item()
    seen.physical_tokens += forward.physical_tokens
    seen.logp.append(logp_T.detach())
    seen.sampler.append(sampler_T)
    seen.entropy.append(forward.entropy_T)
    seen.clipped.append(_clipped(logp_T.detach() - sampler_T, tokens, loss))
    seen.fresh.append(along_tokens([float(member.staleness == 0) for member, _ in rows]).bool())


def _stop_reason(kind: str, mean_k3: float, ratio_p95: float) -> str | None:
    """CISPO has no trust region of its own: past these bounds the batch is too far from its sampler to learn from."""
    if kind == "cispo" and mean_k3 > MAX_MEAN_K3:
        return f"mean k3 {mean_k3:.4f} > {MAX_MEAN_K3}"
    if kind == "cispo" and ratio_p95 > MAX_RATIO_P95:
        return f"ratio p95 {ratio_p95:.3f} > {MAX_RATIO_P95}"
    return None


def _clipped(log_ratio_T: Tensor, tokens: Tokens, loss: Loss) -> Tensor:
    if loss.kind == "gspo":
        log_ratio_T = sequence_log_ratio(log_ratio_T, tokens.sequence_T)
    ratio_T = log_ratio_T.exp()
    if loss.kind == "cispo":
        return ratio_T > loss.ratio_cap
    return (ratio_T < 1 - loss.clip_low) | (ratio_T > 1 + loss.clip_high)


def _agreement(logp_T: Tensor, sampler_T: Tensor) -> tuple[float | None, float | None]:
    """(mean |Δ|, correlation); the correlation is None where either side is constant."""
    if len(logp_T) == 0:
        return None, None
    delta = (logp_T - sampler_T).abs().mean().item()
    if len(logp_T) == 1:
        return delta, None
    correlation = torch.corrcoef(torch.stack([logp_T, sampler_T]))[0, 1].item()
    return delta, None if math.isnan(correlation) else correlation
