"""The losses by hand: a group of two members, worked out in the comments.

Rewards 1 and 0 give advantages +2 and -2 (test_advantage.py). Group weight w = 0.5. Member 1 has two sampled tokens,
member 2 has one, so N = 3. The sampler's and the policy's probabilities:

    token   member   A    mu     pi     rho = pi/mu
      0       1     +2    0.50   0.60   1.2
      1       1     +2    0.10   0.80   8.0
      2       2     -2    0.40   0.20   0.5
"""

import math

import pytest
import torch
from torch import Tensor

from nightshift_trainer.loss import Tokens, cispo_loss, grpo_clip_loss, gspo_loss, k3, kl_shaped_advantage

MU = torch.tensor([0.5, 0.1, 0.4], dtype=torch.float64)
PI = torch.tensor([0.6, 0.8, 0.2], dtype=torch.float64)
A = torch.tensor([2.0, 2.0, -2.0], dtype=torch.float64)
W = torch.full((3,), 0.5, dtype=torch.float64)
S = torch.tensor([0, 0, 1])
N = 3


def policy() -> Tensor:
    return PI.log().requires_grad_()


def gradient(loss: Tensor, logp: Tensor) -> list[float]:
    (grad,) = torch.autograd.grad(loss, logp)
    return grad.tolist()


def test_cispo() -> None:
    logp = policy()
    loss = cispo_loss(logp, Tokens(MU.log(), A, W, S), N, ratio_cap=5)
    # min(rho, 5) = 1.2, 5, 0.5. L = -1/3 * 0.5 * (1.2*2*ln .6 + 5*2*ln .8 + 0.5*(-2)*ln .2)
    #   ln .6 = -.5108256238, ln .8 = -.2231435513, ln .2 = -1.6094379124
    #   sum = -1.2259814971 - 2.2314355131 + 1.6094379124 = -1.8479790978; L = +0.3079965163
    assert loss.item() == pytest.approx(0.3079965163, rel=1e-6)
    # dL/dlog pi = -1/3 * 0.5 * min(rho, 5) * A: the ratio is a constant, so the capped token keeps its gradient.
    #   -(1.2*2)/6 = -.4, -(5*2)/6 = -1.6666667, +(0.5*2)/6 = +.1666667
    assert gradient(loss, logp) == pytest.approx([-0.4, -5 / 3, 1 / 6], rel=1e-6)


def test_clip() -> None:
    logp = policy()
    loss = grpo_clip_loss(logp, Tokens(MU.log(), A, W, S), N, clip_low=0.2, clip_high=0.28)
    # Token 0: rho 1.2 inside [.8, 1.28]: 1.2*2 = 2.4. Token 1: min(8*2, 1.28*2) = 2.56, clipped.
    # Token 2: A < 0: min(0.5*-2, 0.8*-2) = min(-1, -1.6) = -1.6, clipped.
    # L = -1/3 * 0.5 * (2.4 + 2.56 - 1.6) = -3.36/6 = -0.56
    assert loss.item() == pytest.approx(-0.56, rel=1e-6)
    # d rho / d log pi = rho where unclipped: -1.2*2/6 = -.4; zero for the two clipped tokens.
    assert gradient(loss, logp) == pytest.approx([-0.4, 0, 0], rel=1e-6)


def test_clip_keeps_the_gradient_that_leads_back() -> None:
    # rho 8 with A < 0: min(8*-2, 1.28*-2) = -16, unclipped: dL/dlog pi = +0.5*16/3 = 8/3.
    # rho 0.5 with A > 0: min(0.5*2, 0.8*2) = 1, unclipped: dL/dlog pi = -0.5*1/3 = -1/6.
    logp = policy()
    loss = grpo_clip_loss(logp, Tokens(MU.log(), -A, W, S), N, clip_low=0.2, clip_high=0.28)
    assert gradient(loss, logp) == pytest.approx([0.4, 8 / 3, -1 / 6], rel=1e-6)


def test_gspo() -> None:
    logp = policy()
    loss = gspo_loss(logp, Tokens(MU.log(), A, W, S), N, clip_low=0.6, clip_high=2.5)
    # One ratio per sequence: sqrt(1.2 * 8) = 3.0983867 for member 1, 0.5 for member 2.
    # Member 1: min(3.098*2, 3.5*2) = 6.1967734 for each of its two tokens; member 2: min(.5*-2, .5*-2) = -1.
    # L = -1/3 * 0.5 * (2*6.1967734 - 1) = -11.3935467/6 = -1.8989245
    assert loss.item() == pytest.approx(-1.8989245, rel=1e-7)
    # ds/dlog pi of each token = s (sg[s] * pi/sg[pi]): -3.0983867*2/6, twice; +0.5*2/6.
    assert gradient(loss, logp) == pytest.approx([-1.0327956, -1.0327956, 1 / 6], rel=1e-7)


def test_gspo_clips_whole_sequences() -> None:
    logp = policy()
    loss = gspo_loss(logp, Tokens(MU.log(), A, W, S), N, clip_low=0.2, clip_high=0.28)
    # 3.098 > 1.28 with A > 0, and 0.5 < 0.8 with A < 0: both clipped, all their tokens.
    # L = -1/6 * (1.28*2*2 - 0.8*2) = -(5.12 - 1.6)/6
    assert loss.item() == pytest.approx(-3.52 / 6, rel=1e-7)
    assert gradient(loss, logp) == [0, 0, 0]


def test_kl_shapes_the_advantage_without_a_gradient() -> None:
    # pi_ref = .5, .4, .4; beta .1: A - .1*ln(pi/pi_ref) = 2 - .1*ln 1.2, 2 - .1*ln 2, -2 - .1*ln .5
    #   = 1.9817678443, 1.9306852819, -1.9306852819
    logp = policy()
    shaped = kl_shaped_advantage(A, logp, torch.tensor([0.5, 0.4, 0.4], dtype=torch.float64).log(), 0.1)
    assert shaped.tolist() == pytest.approx([1.9817678443, 1.9306852819, -1.9306852819], rel=1e-9)
    assert not shaped.requires_grad


def test_k3() -> None:
    # rho - 1 - ln rho: .2 - .1823215568 = .0176784432, 7 - 2.0794415417 = 4.9205584583, -.5 + .6931471806 = .1931471806
    assert k3((PI / MU).log()).tolist() == pytest.approx([0.0176784432, 4.9205584583, 0.1931471806], rel=1e-8)
    assert k3(torch.tensor([0.0])).item() == 0


@pytest.mark.parametrize("cut", [1, 2])
def test_parts_add_up_to_the_whole(cut: int) -> None:
    logp = policy()
    whole = cispo_loss(logp, Tokens(MU.log(), A, W, S), N, 5)
    parts = [
        cispo_loss(logp[s], Tokens(MU.log()[s], A[s], W[s], S[s]), N, 5)
        for s in (slice(0, cut), slice(cut, 3))
    ]
    assert sum(p.item() for p in parts) == pytest.approx(whole.item(), rel=1e-12)
    assert math.isfinite(whole.item())
