"""π_old: the trainer's own logprobs of a batch's sampled tokens, with the weights that the batch finds."""

from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from nightshift_trainer.config import Correction
from nightshift_trainer.correction import correct
from nightshift_trainer.forward import micro_batches, report_memory, token_logprobs
from nightshift_trainer.lora import Policy
from nightshift_trainer.report import agreement, require_agreement
from nightshift_trainer.types import Learning, LearningGroup


@torch.no_grad()
def proximal_logprobs(
    policy: Policy, groups: Seq[LearningGroup], budget_tokens: int, beat: Callable[[], None]
) -> Tensor:
    """fp32 on the CPU, over all sequences in order. Without dropout, as the sampler computes.

    Micro-batches are cut as a step cuts them, so that before any update ρ is 1 to the bit where nothing is masked.
    Raises OutOfMemoryError when one does not fit.
    """
    parts: list[Tensor] = []
    with policy.without_dropout():
        for group in groups:
            parts.extend(_of_group(policy, group, budget_tokens, beat))
    return torch.cat(parts) if parts else torch.empty(0)


def _of_group(
    policy: Policy, group: LearningGroup, budget_tokens: int, beat: Callable[[], None]
) -> list[Tensor]:
    """One tensor per sequence."""
    rows = [sequence for member in group.members for sequence in member.sequences]
    own: list[Tensor] = [torch.empty(0)] * len(rows)
    for indices in micro_batches(policy.model, rows, budget_tokens):
        beat()
        batch = [rows[i] for i in indices]
        with report_memory(policy.model, batch):
            logp_T = token_logprobs(policy.model, batch).logp_T.cpu()
        for index, logp in zip(indices, logp_T.split([len(row.positions) for row in batch]), strict=True):
            own[index] = logp
    return own


def correct_batch(
    learning: Learning, old_T: Tensor, correction: Correction, bound: float
) -> tuple[Learning, dict[str, Any]]:
    """`learning` in the three-policy form, and the figures of the whole batch. Raises DatasetError when π_old does not
    agree with the members that the current adapter sampled: looked at before the mask, which would hide it."""
    members = [member for group in learning.groups for member in group.members]
    tokens = [(x, m.staleness == 0) for m in members for s in m.sequences for x in s.sampler_logprobs]
    fresh_T = torch.tensor([is_fresh for _, is_fresh in tokens], dtype=torch.bool)
    sampler_T = torch.tensor([x for x, _ in tokens], dtype=torch.float32)
    delta, correlation = agreement(old_T[fresh_T], sampler_T[fresh_T])
    require_agreement(delta, bound)
    learning, report = correct(learning, old_T.tolist(), correction)
    agreed = {"logprob_mean_abs_delta": delta, "logprob_correlation": correlation}
    return learning, agreed | asdict(report)
