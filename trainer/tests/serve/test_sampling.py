"""Sampling by hand-worked numbers: logits are logs of the wanted probabilities."""

import math

import pytest
import torch

from nightshift_trainer.serve.sampling import sample, uniforms

HALVES = [0.5, 0.25, 0.125, 0.125]


def logits(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows).log()


@pytest.mark.parametrize(
    ("uniform", "token"), [(0.0, 0), (0.49, 0), (0.51, 1), (0.74, 1), (0.76, 2), (0.88, 3), (0.9999, 3)]
)
def test_inverse_transform(uniform: float, token: int) -> None:
    tokens, logprobs = sample(logits(HALVES), [1.0], [1.0], [uniform])
    assert tokens == [token]
    assert logprobs == pytest.approx([math.log(HALVES[token])], abs=1e-6)


def test_temperature_half_squares_the_odds() -> None:
    # p² / Σp²: Σ = 1/4 + 1/16 + 2/64 = 11/32, so the first has 8/11.
    tokens, logprobs = sample(logits(HALVES), [0.5], [1.0], [0.70])
    assert tokens == [0]
    assert logprobs == pytest.approx([math.log(8 / 11)], abs=1e-6)


def test_top_p_renormalises_what_it_keeps() -> None:
    # 0.5 + 0.25 reaches 0.7; kept are 2/3 and 1/3.
    tokens, logprobs = sample(logits(HALVES, HALVES), [1.0, 1.0], [0.7, 1.0], [0.7, 0.7])
    assert tokens == [1, 1]
    assert logprobs == pytest.approx([math.log(1 / 3), math.log(0.25)], abs=1e-6)


def test_greedy_takes_the_likeliest_and_reports_temperature_one() -> None:
    tokens, logprobs = sample(logits([0.2, 0.7, 0.1]), [0.0], [1.0], [0.999])
    assert tokens == [1]
    assert logprobs == pytest.approx([math.log(0.7)], abs=1e-6)


def test_a_row_does_not_depend_on_the_others() -> None:
    torch.manual_seed(0)
    batch = torch.randn(16, 501) * 3
    temperature, top_p = [0.7] * 8 + [0.0] * 8, [1.0, 0.9] * 8
    uniform = uniforms(3, 16)
    tokens, logprobs = sample(batch, temperature, top_p, uniform)
    order = list(reversed(range(16)))
    again = sample(
        batch[order], [temperature[n] for n in order], [top_p[n] for n in order], [uniform[n] for n in order]
    )
    assert again == ([tokens[n] for n in order], [logprobs[n] for n in order])


def test_the_stream_of_a_seed_is_its_own_and_a_prefix_of_itself() -> None:
    assert uniforms(7, 100)[:10] == uniforms(7, 10)
    assert uniforms(7, 10) != uniforms(8, 10)
    assert uniforms(-1, 3) == uniforms(2**64 - 1, 3)
    many = uniforms(1, 20_000)
    assert sum(many) / len(many) == pytest.approx(0.5, abs=0.01)
