"""The three-policy form by hand. The sampler's and the trainer's probabilities before the batch's first step:

sequence  token   mu      pi_old   pi_old/mu
   A        0     0.500   0.505    1.01
   A        1     0.100   0.100    1
   B        0     0.400   0.200    0.5
   C        0     0.100   0.800    8
   C        1     0.800   0.100    0.125
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nightshift_trainer.config import Correction
from nightshift_trainer.correction import correct, log_geometric_ratio, tis_weights
from nightshift_trainer.loss import Tokens, cispo_loss, grpo_clip_loss, gspo_loss
from nightshift_trainer.proximal import proximal_logprobs
from nightshift_trainer.types import Learning, LearningGroup, LossMember, Sequence
from tests.test_packed_step import config, group, policy, step

FORM = Correction(tis_cap=2.0, mask_low=0.99, mask_high=1.01)
WIDE = Correction(tis_cap=2.0, mask_low=1e-9, mask_high=1e9)
MU = {"A": (0.5, 0.1), "B": (0.4,), "C": (0.1, 0.8)}
OLD = {"A": (0.505, 0.1), "B": (0.2,), "C": (0.8, 0.1)}


def logs(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(map(math.log, values))


def sequence(name: str) -> Sequence:
    tokens = len(MU[name])
    return Sequence((1,) * (tokens + 1), tuple(range(1, tokens + 1)), logs(MU[name]), (1.0,) * tokens)


def learning(*groups: tuple[LossMember, ...]) -> Learning:
    made = tuple(LearningGroup(f"g{i}", 1.0, members) for i, members in enumerate(groups))
    return Learning(made, {"zero_variance": 1}, 0, 0, 0.5, 0.5)


def test_the_geometric_ratio_and_the_weights() -> None:
    # A: sqrt(1.01 * 1) = 1.0049876. C: sqrt(8 * 0.125) = 1: gaps that cancel are not seen, but their weights are cut.
    assert log_geometric_ratio(logs(OLD["A"]), logs(MU["A"])) == pytest.approx(math.log(1.0049876), rel=1e-5)
    assert log_geometric_ratio(logs(OLD["B"]), logs(MU["B"])) == pytest.approx(math.log(0.5))
    assert log_geometric_ratio(logs(OLD["C"]), logs(MU["C"])) == pytest.approx(0, abs=1e-12)
    assert tis_weights(logs(OLD["A"]), logs(MU["A"]), 2) == pytest.approx((1.01, 1))
    assert tis_weights(logs(OLD["C"]), logs(MU["C"]), 2) == pytest.approx((2, 0.125))
    # A server's way to write a probability of nothing: no ratio overflows.
    assert tis_weights((-1.0, -9999.0), (-9999.0, -1.0), 2) == (2, 0)
    assert log_geometric_ratio((-1.0,), (-9999.0,)) == 9998


def test_sequences_outside_the_band_leave_the_loss_and_stay_in_its_normaliser() -> None:
    one = LossMember("r1", 2.0, 0, (sequence("A"), sequence("B")))
    two = LossMember("r2", -2.0, 0, (sequence("C"),))
    gone = LossMember("r3", 1.0, 0, (sequence("B"),))
    old = logs(OLD["A"] + OLD["B"] + OLD["C"] + OLD["B"])
    corrected, report = correct(learning((one, two), (gone,)), old, FORM)
    kept, emptied = corrected.groups
    assert (kept.is_masked, emptied.is_masked, emptied.members[0].masked_tokens) == (False, True, 1)
    assert corrected.dropped == {"geometric_mask": 1, "zero_variance": 1}
    assert [(m.rollout_id, len(m.sequences), m.masked_tokens) for m in kept.members] == [
        ("r1", 1, 1),
        ("r2", 1, 0),
    ]
    first = kept.members[0].sequences[0].proximal
    assert first is not None
    assert first.logprobs == logs(OLD["A"])
    assert first.weights == pytest.approx((1.01, 1))
    # Weights 1.01, 1, 2 (cut from 8), 0.125.
    assert (report.sequences_masked, report.tokens_masked) == (2, 2)
    assert report.tis_weight_mean == pytest.approx(4.135 / 4)
    assert report.tis_truncated_share == 0.25


def test_what_an_earlier_adapter_sampled_keeps_two_policies() -> None:
    stale = LossMember("r1", 2.0, 1, (sequence("B"),))
    corrected, report = correct(learning((stale,)), logs(OLD["B"]), FORM)
    assert corrected.groups[0].members == (stale,)
    assert (report.sequences_masked, report.tis_weight_mean, report.tis_truncated_share) == (0, None, None)


def tokens() -> tuple[torch.Tensor, Tokens]:
    """C and A, with A > 0 and A < 0, group weight 0.5, and the policy one step on.

    sequence  token   pi_old  pi_theta   rho    TIS    w*TIS   A
       C        0     0.8     0.88       1.1    2      1       +2
       C        1     0.1     0.15       1.5    0.125  0.0625  +2
       A        0     0.505   0.303      0.6    1.01   0.505   -2
       A        1     0.1     0.12       1.2    1      0.5     -2
    """
    old = torch.tensor(OLD["C"] + OLD["A"], dtype=torch.float64).log()
    logp = torch.tensor([0.88, 0.15, 0.303, 0.12], dtype=torch.float64).log().requires_grad_()
    tis = tis_weights(logs(OLD["C"] + OLD["A"]), logs(MU["C"] + MU["A"]), 2)
    weight = 0.5 * torch.tensor(tis, dtype=torch.float64)
    advantage = torch.tensor([2.0, 2.0, -2.0, -2.0], dtype=torch.float64)
    return logp, Tokens(old, advantage, weight, torch.tensor([0, 0, 1, 1]))


def gradient(loss: torch.Tensor, logp: torch.Tensor) -> list[float]:
    return torch.autograd.grad(loss, logp)[0].tolist()


# B was masked: its token counts, so N is 5 for the four tokens above.
N = 5


def test_cispo() -> None:
    # dL/dlog pi = -w*TIS * min(rho, 1.4) * A / 5
    #   -1*1.1*2/5 = -.44, -.0625*1.4*2/5 = -.035, +.505*.6*2/5 = .1212, +.5*1.2*2/5 = .24
    logp, given_tokens = tokens()
    loss = cispo_loss(logp, given_tokens, N, ratio_cap=1.4)
    assert gradient(loss, logp) == pytest.approx([-0.44, -0.035, 0.1212, 0.24], rel=1e-6)


def test_clip() -> None:
    # min(rho*A, clip(rho, .8, 1.28)*A): 2.2 | 2*1.28 = 2.56, cut | min(-1.2, -1.6) = -1.6, cut | min(-2.4, -2.4) = -2.4
    # L = -(1*2.2 + .0625*2.56 - .505*1.6 - .5*2.4)/5 = -(2.2 + .16 - .808 - 1.2)/5 = -.0704
    logp, given_tokens = tokens()
    loss = grpo_clip_loss(logp, given_tokens, N, 0.2, 0.28)
    assert loss.item() == pytest.approx(-0.0704, rel=1e-6)
    # -1*1.1*2/5, 0, 0, +.5*1.2*2/5
    assert gradient(loss, logp) == pytest.approx([-0.44, 0, 0, 0.24], rel=1e-6)


def test_gspo() -> None:
    # s of C: sqrt(1.1*1.5) = 1.2845233; of A: sqrt(.6*1.2) = .8485281. Nothing clipped at [.5, 2].
    # L = -(1.0625*2*1.2845233 - 1.005*2*.8485281)/5 = -(2.7296120 - 1.7055415)/5 = -.2048141
    logp, given_tokens = tokens()
    loss = gspo_loss(logp, given_tokens, N, 0.5, 1.0)
    assert loss.item() == pytest.approx(-0.2048141, rel=1e-6)
    # -1*2*s/5, -.0625*2*s/5, +.505*2*s/5, +.5*2*s/5
    expected = [-0.5138093, -0.0321131, 0.1714027, 0.1697056]
    assert gradient(loss, logp) == pytest.approx(expected, rel=1e-6)


def one_learning(groups: list[LearningGroup]) -> Learning:
    return Learning(tuple(groups), {}, 0, 0, None, None)


@given(seed=st.integers(0, 10_000), kind=st.sampled_from(["grpo", "gspo", "cispo"]), packed=st.booleans())
@settings(deadline=None, max_examples=15)
def test_where_the_sampler_is_the_trainer_it_is_the_two_policy_form(
    seed: int, kind: str, packed: bool
) -> None:
    """To the bit: the ratio's anchor and the weights of 1 are the same numbers."""
    of, how = policy(packed), config(kind, 10_000)
    drawn = [group(seed, 4), group(seed + 1, 3)]
    old = proximal_logprobs(of, drawn, 10_000, lambda: None).tolist()
    values = iter(old)
    own = [replace(g, members=tuple(_sampled_by_the_trainer(m, values) for m in g.members)) for g in drawn]
    corrected, report = correct(one_learning(own), old, FORM)
    assert (report.sequences_masked, report.tis_truncated_share) in ((0, 0), (0, None))
    expected, gradients = step(of, own, how)
    found, corrected_gradients = step(of, list(corrected.groups), how)
    assert replace(found, seconds=0) == replace(expected, seconds=0)
    for a, b in zip(corrected_gradients, gradients, strict=True):
        assert torch.equal(a, b)
    if all(m.staleness == 0 for g in own for m in g.members) and packed:
        assert found.ratio_mean == 1


def _sampled_by_the_trainer(member: LossMember, values: Iterator[float]) -> LossMember:
    sequences = tuple(
        replace(s, sampler_logprobs=tuple(next(values) for _ in s.positions)) for s in member.sequences
    )
    return replace(member, sequences=sequences)


def test_the_mask_only_makes_a_step_smaller() -> None:
    """Half of a group masked: the gradient is that of the other half, over all tokens."""
    of, how = policy(packed=True), config("grpo", 10_000)
    (whole,) = [group(3, 4)]
    masked = sum(len(s.positions) for m in whole.members[2:] for s in m.sequences)
    kept = sum(len(s.positions) for m in whole.members[:2] for s in m.sequences)
    emptied = [
        replace(m, sequences=(), masked_tokens=sum(len(s.positions) for s in m.sequences))
        for m in whole.members[2:]
    ]
    half = replace(whole, members=whole.members[:2])
    alone, gradients = step(of, [half], how)
    with_mask, smaller = step(of, [replace(whole, members=(*half.members, *emptied))], how)
    share = kept / (kept + masked)
    assert with_mask.loss == pytest.approx(alone.loss * share, rel=1e-6)
    for a, b in zip(smaller, gradients, strict=True):
        assert (a - b * share).norm() <= 1e-5 * b.norm()


def test_the_anchor_is_the_old_policy_and_k3_is_against_the_sampler() -> None:
    of, how = policy(packed=True), config("grpo", 10_000)
    fresh = [replace(g, members=tuple(replace(m, staleness=0) for m in g.members)) for g in [group(5, 4)]]
    old = proximal_logprobs(of, fresh, 10_000, lambda: None).tolist()
    corrected, _ = correct(one_learning(fresh), old, WIDE)
    two, _ = step(of, fresh, how)
    three, _ = step(of, list(corrected.groups), how)
    assert (three.ratio_mean, three.ratio_p95, three.clipped_share) == (1, 1, 0)
    assert two.ratio_mean != pytest.approx(1, abs=0.1)
    assert three.k3 == two.k3
    assert three.logprob_mean_abs_delta == two.logprob_mean_abs_delta


def test_every_token_needs_its_old_logprob() -> None:
    with pytest.raises(AssertionError, match="more logprobs than tokens"):
        correct(learning((LossMember("r", 1.0, 0, (sequence("A"),)),)), logs((0.5, 0.1, 0.3)), WIDE)
