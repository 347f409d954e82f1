"""Sharing a prefix, padding and chunking are only savings: the numbers are those of the plain model, row by row."""

import random

import pytest
import torch

from nightshift_trainer import forward
from nightshift_trainer.forward import micro_batches, shared_prefix, shares_prefixes, token_logprobs
from nightshift_trainer.types import Sequence
from tests.run_files import VOCABULARY, tiny_model


def rows(prefix: int, lengths: list[int], temperature: float = 1.0) -> list[Sequence]:
    """Rows that share `prefix` tokens and then differ; every third later token is sampled."""
    generator = random.Random(prefix)
    common = tuple(generator.choices(range(VOCABULARY), k=prefix))
    found = []
    for i, length in enumerate(lengths):
        own = (i, *generator.choices(range(VOCABULARY), k=length))
        positions = tuple(range(prefix + 2, prefix + 1 + length, 3))
        found.append(
            Sequence(common + own, positions, (0.0,) * len(positions), (temperature,) * len(positions))
        )
    return found


def plain(model: torch.nn.Module, sequences: list[Sequence]) -> torch.Tensor:
    parts = []
    for row in sequences:
        logits = model(input_ids=torch.tensor([row.token_ids])).logits[0]
        logp = torch.log_softmax(logits / row.temperatures[0], -1)
        parts.extend(logp[p - 1, row.token_ids[p]] for p in row.positions)
    return torch.stack(parts)


@pytest.mark.parametrize("prefix", [0, 5, 40])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_values_and_gradients_are_those_of_the_plain_model(
    prefix: int, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model()
    sequences = rows(prefix, [9, 17, 12, 30], temperature)
    assert shared_prefix(sequences) == (40 if prefix == 40 else 0)
    weights = torch.linspace(-1, 1, sum(len(s.positions) for s in sequences))
    expected = plain(model, sequences)
    (weights * expected).sum().backward()
    expected_gradient = model.model.embed_tokens.weight.grad
    for elements in (2**26, 7 * VOCABULARY):  # one chunk of the head, several
        monkeypatch.setattr(forward, "HEAD_CHUNK_ELEMENTS", elements)
        model.zero_grad()
        result = token_logprobs(model, sequences)
        (weights * result.logp_T).sum().backward()
        assert torch.allclose(result.logp_T, expected, atol=1e-5)
        gradient = model.model.embed_tokens.weight.grad
        assert gradient is not None
        assert expected_gradient is not None
        assert torch.allclose(gradient, expected_gradient, atol=1e-5)
    assert result.physical_tokens == (prefix if prefix == 40 else 0) + 4 * (
        31 if prefix == 40 else prefix + 31
    )


def test_entropy_is_that_of_the_tempered_distribution() -> None:
    model = tiny_model()
    (row,) = rows(0, [10], 0.6)
    logits = model(input_ids=torch.tensor([row.token_ids])).logits[0]
    chosen = logits[[p - 1 for p in row.positions]] / 0.6
    expected = torch.distributions.Categorical(logits=chosen).entropy()
    assert torch.allclose(token_logprobs(model, [row]).entropy_T, expected, atol=1e-5)


def test_a_prefix_ends_before_the_first_sampled_token_of_any_row() -> None:
    same = rows(30, [9])[0]
    early = Sequence(same.token_ids, (20, 25), (0, 0), (1, 1))
    assert shared_prefix([same, early]) == 19
    assert shared_prefix([same]) == 0


def test_micro_batches_keep_the_budget_and_every_row() -> None:
    sequences = rows(0, [5, 50, 7, 20, 20, 49])
    batches = micro_batches(sequences, 110)
    assert sorted(i for batch in batches for i in batch) == list(range(6))
    for batch in batches:
        longest = max(len(sequences[i].token_ids) for i in batch)
        assert len(batch) == 1 or len(batch) * longest <= 110
    assert micro_batches(rows(0, [300]), 10) == [[0]]


def test_only_full_attention_shares_prefixes() -> None:
    config = tiny_model().config
    assert shares_prefixes(config)
    config.layer_types = ["full_attention", "linear_attention"]
    assert not shares_prefixes(config)
