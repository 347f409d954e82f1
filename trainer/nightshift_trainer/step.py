"""One optimiser step over a minibatch of groups: forward, loss, backward, the checks before the weights move."""

import time
from collections.abc import Callable
from collections.abc import Sequence as Seq

import torch
from torch import Tensor
from torch.optim import Optimizer

from nightshift_trainer.agreement_bound import Bounds
from nightshift_trainer.config import Loss, Objective, RunConfig
from nightshift_trainer.forward import micro_batches, report_memory, token_logprobs
from nightshift_trainer.lora import Policy
from nightshift_trainer.loss import (
    Tokens,
    cispo_loss,
    grpo_clip_loss,
    gspo_loss,
    k3,
    kl_shaped_advantage,
    likelihood_loss,
)
from nightshift_trainer.report import Seen, StepReport, agreement, clipped, require_agreement, stop_reason
from nightshift_trainer.types import LearningGroup, LossMember, Sequence


def take_step(
    policy: Policy,
    optimizer: Optimizer,
    groups: Seq[LearningGroup],
    config: RunConfig,
    *,
    budget_tokens: int,
    step: int,
    bounds: Bounds | None,
    beat: Callable[[float], None],
    objective: Objective = "grpo",
) -> StepReport:
    """Moves the adapter once, or not at all (`stopped`). `step` counts from 1; `beat` runs before every micro-batch and
    gets the share of rows that are done. Micro-batches are of at most `budget_tokens` physical tokens: raises
    OutOfMemoryError, before anything moved, when one does not fit.

    A batch's first step has seen no update since the batch was sampled, so its logprobs must agree with the
    sampler's: `bounds` says when it raises DatasetError, before anything moved, and when it stops. None in later steps.
    """
    began = time.monotonic()
    optimizer.zero_grad(set_to_none=True)
    seen = _accumulate(policy, groups, config, objective, budget_tokens, beat)
    logp_T, sampler_T = torch.cat(seen.logp), torch.cat(seen.sampler)
    ratio_T = (logp_T - torch.cat(seen.anchor)).exp()
    fresh_T = torch.cat(seen.fresh)
    delta, correlation = agreement(logp_T[fresh_T], sampler_T[fresh_T])
    if bounds is not None:
        require_agreement(delta, bounds.refuse)
    mean_k3, ratio_p95 = k3(logp_T - sampler_T).mean().item(), torch.quantile(ratio_T, 0.95).item()
    stopped = stop_reason(config.loss.kind, mean_k3, ratio_p95) if objective == "grpo" else None
    if bounds is not None and delta is not None and delta > bounds.leave:
        stopped = f"mean |trainer - sampler| logprob {delta:.4f} > {bounds.leave:.4g}"
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
    objective: Objective,
    budget_tokens: int,
    beat: Callable[[float], None],
) -> Seen:
    """Leaves the gradient of the whole minibatch's loss in the parameters."""
    seen = Seen()
    loss = config.loss if objective == "grpo" else None
    members = [member for group in groups for member in group.members]
    normalizer = _normalizer(members, loss, objective)
    done, total = 0, sum(len(member.sequences) for member in members)
    for group in groups:
        rows = [(member, sequence) for member in group.members for sequence in member.sequences]
        sequences = [sequence for _, sequence in rows]
        for indices in micro_batches(policy.model, sequences, budget_tokens):
            beat(done / total)
            done += len(indices)
            batch = [rows[i] for i in indices]
            with report_memory(policy.model, [sequence for _, sequence in batch]):
                _micro_batch(policy, batch, group.weight, normalizer, loss, seen)
    return seen


def _normalizer(members: Seq[LossMember], loss: Loss | None, objective: Objective) -> int:
    """Pairs for DPO (each member is in one), else the sampled tokens, those that a mask took out included, or what
    stands for them."""
    if objective == "dpo":
        return len(members) // 2
    if loss is not None and loss.constant_length is not None:
        return len(members) * loss.constant_length
    return sum(m.masked_tokens + sum(len(s.positions) for s in m.sequences) for m in members)


def _micro_batch(
    policy: Policy,
    rows: Seq[tuple[LossMember, Sequence]],
    weight: float,
    normalizer: int,
    loss: Loss | None,
    seen: Seen,
) -> None:
    """`loss` None: the likelihood as the members' advantages weigh it, no ratio."""
    sequences = [sequence for _, sequence in rows]
    forward = token_logprobs(policy.model, sequences)
    logp_T = forward.logp_T

    def tensor(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=logp_T.device)

    def along_tokens(values: list[float]) -> Tensor:
        return tensor([v for v, s in zip(values, sequences, strict=True) for _ in s.positions])

    advantage_T = along_tokens([member.advantage for member, _ in rows])
    sampler_T = tensor([x for s in sequences for x in s.sampler_logprobs])
    anchor_T = tensor(
        [x for s in sequences for x in (s.proximal.logprobs if s.proximal else s.sampler_logprobs)]
    )
    if loss is not None and loss.kl_beta > 0:
        with torch.no_grad(), policy.base():
            reference_T = token_logprobs(policy.model, sequences).logp_T
        advantage_T = kl_shaped_advantage(advantage_T, logp_T, reference_T, loss.kl_beta)
        seen.reference.append(reference_T)
    tis_T = tensor(
        [w for s in sequences for w in (s.proximal.weights if s.proximal else (1.0,) * len(s.positions))]
    )
    sequence_T = along_tokens([float(i) for i in range(len(rows))]).long()
    tokens = Tokens(anchor_T, advantage_T, weight * tis_T, sequence_T)
    if loss is None:
        value = likelihood_loss(logp_T, tokens, normalizer)
    elif loss.kind == "cispo":
        value = cispo_loss(logp_T, tokens, normalizer, loss.ratio_cap)
    else:
        clip = grpo_clip_loss if loss.kind == "grpo" else gspo_loss
        value = clip(logp_T, tokens, normalizer, loss.clip_low, loss.clip_high)
    value.backward()
    seen.loss += value.item()
    seen.physical_tokens += forward.physical_tokens
    seen.logp.append(logp_T.detach())
    seen.sampler.append(sampler_T)
    seen.anchor.append(anchor_T)
    seen.entropy.append(forward.entropy_T)
    seen.clipped.append(clipped(logp_T.detach() - anchor_T, tokens, loss))
    seen.fresh.append(along_tokens([float(member.staleness == 0) for member, _ in rows]).bool())
