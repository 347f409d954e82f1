"""Our side: whole steps, the optimiser's included, packed or padded."""

import time
from typing import Any

import torch
from workload import Workload, base_model, gradients_of, synchronize, with_lora

from nightshift_trainer.attention_gate import pack_rows
from nightshift_trainer.config import RunConfig
from nightshift_trainer.forward import token_logprobs
from nightshift_trainer.lora import Policy
from nightshift_trainer.step import take_step
from nightshift_trainer.types import LearningGroup, LossMember, Sequence


def steps_of(workload: Workload, steps: int, side: str) -> tuple[list[float], dict[str, Any], dict[str, Any]]:
    base = base_model(workload.shape)
    if side == "nightshift":
        assert pack_rows(base) is None
    model = with_lora(base)
    model.eval()
    policy = Policy(model, None, recompute=True)
    prompt, own = workload.prompt(), workload.own
    positions = tuple(range(len(prompt), len(prompt) + own))
    rows = [
        Sequence((*prompt, *c), positions, _sampler(policy, prompt, c), (1.0,) * own)
        for c in workload.completions()
    ]
    members = [
        LossMember(f"r{i}", a, 0, (row,))
        for i, (a, row) in enumerate(zip(workload.rewards(), rows, strict=True))
    ]
    # By tokens, as many as the padded side has in its micro-batch.
    length = workload.prefix + own - 1
    budget = workload.micro_batch * length
    config = RunConfig.model_construct(
        loss=_Loss(), optimizer=_Optimizer(), logprob_gate=_Gate(), micro_batch_tokens=budget
    )
    optimizer = _Recorder(list(policy.parameters().values()), lr=0.0)
    optimizer.model = model
    seconds: list[float] = []
    tokens = 0
    for n in range(steps):
        began = time.perf_counter()
        report = take_step(
            policy,
            optimizer,
            [LearningGroup("g", 1.0, tuple(members))],
            config,
            budget_tokens=budget,
            step=n + 1,
            bounds=None,
            beat=lambda _: None,
        )
        synchronize()
        seconds.append(time.perf_counter() - began)
        tokens = report.physical_tokens
    return seconds, optimizer.first, {"physical_tokens": tokens}


def _sampler(policy: Any, prompt: list[int], completion: list[int]) -> tuple[float, ...]:
    """The policy's own logprobs: the ratio is 1, as TRL's is on its first step. Learning rates are 0, so it stays 1."""

    positions = tuple(range(len(prompt), len(prompt) + len(completion)))
    with torch.no_grad():
        row = Sequence((*prompt, *completion), positions, (), (1.0,) * len(positions))
        return tuple(token_logprobs(policy.model, [row]).logp_T.tolist())


class _Loss:
    kind, ratio_cap, clip_low, clip_high, kl_beta = "grpo", 5.0, 0.2, 0.28, 0.0
    constant_length = None


class _Optimizer:
    lr, weight_decay, clip_norm, warmup_steps = 1e-30, 0.0, 1e9, 0


class _Gate:
    max_mean_abs_delta = 1e9


class _Recorder(torch.optim.AdamW):
    """AdamW at rate 0 that keeps the gradients of its first step."""

    model: Any = None
    first: dict[str, torch.Tensor] | None = None

    def step(self, closure: Any = None) -> None:
        if self.first is None:
            self.first = gradients_of(self.model)
        super().step(closure)
