"""Seeded sampling, one row independent of the others.

A request's random numbers are a counter-based stream (Philox) of its seed: number t decides token t.
Nothing of it depends on the batch, so a seed gives the same tokens alone and in company.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How one request samples. temperature 0 is greedy; its logprobs are then those of temperature 1, as
    in vLLM."""

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None


def uniforms(seed: int, count: int) -> list[float]:
    """`count` numbers in [0, 1) for the tokens 0..count-1 of a request."""
    return np.random.Generator(np.random.Philox(key=seed % 2**64)).random(count).tolist()


def sample(
    logits_BV: Tensor, temperature_B: list[float], top_p_B: list[float], uniform_B: list[float]
) -> tuple[list[int], list[float]]:
    """One token per row by inverse transform, with its *processed* logprob (after temperature and top-p),
    in fp32."""
    temperature = torch.tensor(temperature_B)
    greedy = temperature == 0
    logprobs = torch.log_softmax(logits_BV.float() / temperature.masked_fill(greedy, 1.0).unsqueeze(-1), -1)
    if min(top_p_B) < 1.0:
        logprobs = _nucleus(logprobs, torch.tensor(top_p_B))
    cumulative = logprobs.exp().cumsum(-1, dtype=torch.float64)
    target = torch.tensor(uniform_B, dtype=torch.float64).unsqueeze(-1) * cumulative[:, -1:]
    drawn = (cumulative <= target).sum(-1).clamp_(max=logits_BV.shape[-1] - 1)
    tokens = torch.where(greedy, logprobs.argmax(-1), drawn)
    return tokens.tolist(), logprobs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1).tolist()


def _nucleus(logprobs_BV: Tensor, top_p_B: Tensor) -> Tensor:
    """Keeps the smallest set of tokens whose mass reaches top_p, renormalised. Rows with top_p 1 come back
    unchanged."""
    ordered, order = torch.sort(logprobs_BV, dim=-1, descending=True, stable=True)
    mass_before = ordered.exp().cumsum(-1) - ordered.exp()
    dropped = mass_before >= top_p_B.unsqueeze(-1)
    dropped[:, 0] = False
    kept = logprobs_BV.masked_fill(torch.zeros_like(dropped).scatter(-1, order, dropped), float("-inf"))
    return torch.where((top_p_B == 1.0).unsqueeze(-1), logprobs_BV, torch.log_softmax(kept, -1))
