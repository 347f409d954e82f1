"""Packing changes no number: loss, statistics and every LoRA gradient of a step are those of rows run one by one."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model

from nightshift_trainer import tree_attention
from nightshift_trainer.attention_gate import pack_rows
from nightshift_trainer.config import Correction, RunConfig
from nightshift_trainer.correction import correct
from nightshift_trainer.forward import token_logprobs
from nightshift_trainer.lora import Policy
from nightshift_trainer.packing import build_tree
from nightshift_trainer.proximal import proximal_logprobs
from nightshift_trainer.report import StepReport
from nightshift_trainer.step import take_step
from nightshift_trainer.types import Learning, LearningGroup, LossMember, Sequence
from tests.run_files import VOCABULARY, run_json, tiny_model


class Recorder(torch.optim.SGD):
    """Keeps the gradients of a step and moves nothing."""

    def step(self, closure: Any = None) -> None:
        self.gradients = [
            p.grad.clone() for group in self.param_groups for p in group["params"] if p.grad is not None
        ]


def policy(packed: bool, recompute: bool = False) -> Policy:
    torch.manual_seed(1)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=16, target_modules="all-linear")
    peft_model = get_peft_model(tiny_model(), config)
    assert isinstance(peft_model, PeftModel)
    for name, parameter in peft_model.named_parameters():
        if "lora_B" in name:  # zero at the start, where A would have no gradient
            parameter.data.normal_(0, 0.1)
    peft_model.eval()
    if packed:
        assert pack_rows(peft_model.get_base_model()) is None
    return Policy(peft_model, None, recompute)


def config(kind: str, budget: int) -> RunConfig:
    raw = run_json(Path("x")) | {"micro_batch_tokens": budget, "logprob_gate": {"max_mean_abs_delta": 100}}
    raw["loss"] = raw["loss"] | {"kind": kind, "kl_beta": 0.01}
    raw["optimizer"] = raw["optimizer"] | {"clip_norm": 1e9}
    return RunConfig.model_validate(raw)


def group(seed: int, members: int) -> LearningGroup:
    """Conversations that part at the trunk, in later turns, and not at all; tokens of tools are not sampled."""
    draw = random.Random(seed)

    def tokens(least: int, most: int) -> tuple[int, ...]:
        return tuple(draw.choices(range(VOCABULARY), k=draw.randint(least, most)))

    trunk = tokens(2, 20)
    branches = [trunk + tokens(1, 8) for _ in range(2)]
    twigs = [branch + tokens(1, 8) for branch in branches for _ in range(2)]
    rows: list[tuple[int, ...]] = []
    for _ in range(members):
        rows.append(draw.choice(rows) if rows and draw.random() < 0.2 else draw.choice(twigs) + tokens(2, 9))
    made = []
    for i, row in enumerate(rows):
        own = [row] + ([row[: draw.randint(3, len(row))] + tokens(2, 5)] if draw.random() < 0.3 else [])
        sequences = tuple(_sequence(ids, len(trunk) // 2 + 1, draw) for ids in own)
        made.append(LossMember(f"r{i}", draw.uniform(-2, 2), draw.randint(0, 1), sequences))
    return LearningGroup(f"g{seed}", draw.uniform(0.3, 1), tuple(made))


def _sequence(ids: tuple[int, ...], first: int, draw: random.Random) -> Sequence:
    """The sampler's logprobs are far from the policy's: ratios on both sides of every clip, and other ones for a token
    that several rows share."""
    chosen = tuple(p for p in range(min(first, len(ids) - 1), len(ids)) if draw.random() < 0.6) or (
        len(ids) - 1,
    )
    sampler = tuple(draw.uniform(-7, -0.5) for _ in chosen)
    return Sequence(ids, chosen, sampler, tuple(draw.choice((1.0, 0.7)) for _ in chosen))


def _sampled_nearly(far: LearningGroup) -> LearningGroup:
    """The group with sampler's logprobs near the policy's: CISPO does not step from far ones."""
    draw, model = random.Random(far.group_id), policy(packed=False).model
    members = []
    for member in far.members:
        near = []
        for s in member.sequences:
            logp = token_logprobs(model, [s]).logp_T.tolist()
            near.append(replace(s, sampler_logprobs=tuple(x + draw.gauss(0, 0.1) for x in logp)))
        members.append(replace(member, sequences=tuple(near)))
    return replace(far, members=tuple(members))


def step(of: Policy, groups: list[LearningGroup], how: RunConfig) -> tuple[StepReport, list[torch.Tensor]]:
    recorder = Recorder(list(of.parameters().values()), lr=1)
    report = take_step(
        of,
        recorder,
        groups,
        how,
        budget_tokens=how.micro_batch_tokens,
        step=1,
        bounds=None,
        beat=lambda _: None,
    )
    return report, getattr(recorder, "gradients", [])


def compare(
    seed: int,
    members: int,
    kind: str,
    budget: int,
    recompute: bool = False,
    correction: Correction | None = None,
) -> None:
    groups = [group(seed, members), group(seed + 1, 2)]
    if kind == "cispo":
        groups = [_sampled_nearly(one) for one in groups]
    plain, tree = policy(packed=False), policy(packed=True, recompute=recompute)
    expected, gradients = step(plain, _corrected(plain, groups, 1, correction), config(kind, 1))
    found, packed = step(tree, _corrected(tree, groups, budget, correction), config(kind, budget))
    assert found.physical_tokens <= expected.physical_tokens
    for name in ("loss", "ratio_mean", "k3", "kl_to_base", "entropy", "grad_norm"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-4, abs=1e-6), name
    for a, b in zip(packed, gradients, strict=True):
        assert (a - b).norm() <= 1e-4 * b.norm() + 1e-7
    assert len(packed) == len(gradients) > 0


def _corrected(
    of: Policy, groups: list[LearningGroup], budget: int, correction: Correction | None
) -> list[LearningGroup]:
    """The three-policy form, π_old computed as `of` computes."""
    if correction is None:
        return groups
    old = proximal_logprobs(of, groups, budget, lambda: None).tolist()
    return list(correct(Learning(tuple(groups), {}, 0, 0, None, None), old, correction)[0].groups)


@given(
    seed=st.integers(0, 10_000),
    members=st.integers(2, 8),
    kind=st.sampled_from(["grpo", "gspo", "cispo"]),
    budget=st.sampled_from([1, 60, 10_000]),
)
@settings(deadline=None, max_examples=25)
def test_a_packed_step_is_the_unpacked_one(seed: int, members: int, kind: str, budget: int) -> None:
    compare(seed, members, kind, budget)


@pytest.mark.parametrize("kind", ["grpo", "gspo", "cispo"])
def test_in_the_three_policy_form(kind: str) -> None:
    """The bands leave some sequences in and some out: far samplers for the clip losses, near ones for CISPO."""
    band = Correction(tis_cap=2, mask_low=0.97, mask_high=1.03)
    wide = Correction(tis_cap=2, mask_low=0.2, mask_high=5)
    for seed in range(4):
        compare(seed, 6, kind, 10_000, correction=band if kind == "cispo" else wide)


@pytest.mark.parametrize("path", ["segments", "dense"])
def test_both_ways_to_attend_on_a_cpu(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    always: Callable[..., str] = lambda *_: path  # noqa: E731
    monkeypatch.setattr(tree_attention, "_fastest", always)
    for seed in range(5):
        compare(seed, 6, "grpo", 10_000)


def test_a_constant_length_only_changes_what_the_sum_is_divided_by() -> None:
    groups = [group(3, 5)]
    sampled = sum(len(s.positions) for m in groups[0].members for s in m.sequences)
    plain = config("grpo", 10_000)
    constant = plain.model_copy(update={"loss": plain.loss.model_copy(update={"constant_length": 7})})
    by_tokens, _ = step(policy(packed=True), groups, plain)
    by_length, _ = step(policy(packed=True), groups, constant)
    assert by_length.loss == pytest.approx(by_tokens.loss * sampled / (5 * 7), rel=1e-6)
    assert by_length.grad_norm == pytest.approx(by_tokens.grad_norm * sampled / (5 * 7), rel=1e-5)


def test_layers_that_are_computed_again_give_the_same_gradients() -> None:
    runs = 0

    def count(*_: Any) -> None:
        nonlocal runs
        runs += 1

    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda module, *_: count() if type(module).__name__ == "Qwen3Attention" else None
    )
    compare(3, 6, "grpo", 10_000)
    once, runs = runs, 0
    compare(3, 6, "grpo", 10_000, recompute=True)
    handle.remove()
    assert runs > once


def test_the_groups_of_these_tests_are_trees_of_depth_three() -> None:
    rows = [s.token_ids for m in group(5, 8).members for s in m.sequences]
    tree = build_tree(rows)
    assert max(len(path) for path in tree.paths) >= 4
    assert tree.tokens < sum(map(len, rows))
