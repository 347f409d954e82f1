"""Sharing a prefix, padding and chunking are only savings: the numbers are those of the plain model, row by row."""

import random

import pytest
import torch

from nightshift_trainer import forward
from nightshift_trainer.attention_gate import pack_rows
from nightshift_trainer.forward import micro_batches, token_logprobs
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


@pytest.mark.parametrize("prefix", [1, 5, 40])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("packed", [True, False])
def test_values_and_gradients_are_those_of_the_plain_model(
    prefix: int, temperature: float, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model()
    sequences = rows(prefix, [9, 17, 12, 30], temperature)
    weights = torch.linspace(-1, 1, sum(len(s.positions) for s in sequences))
    expected = plain(model, sequences)
    (weights * expected).sum().backward()
    expected_gradient = model.model.embed_tokens.weight.grad
    if packed:
        assert pack_rows(model) is None
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
    # Nothing after the token before the last chosen one is needed.
    computed = [row.positions[-1] - prefix for row in sequences]
    assert result.physical_tokens == (prefix + sum(computed) if packed else 4 * (prefix + max(computed)))


def test_entropy_is_that_of_the_tempered_distribution() -> None:
    model = tiny_model()
    (row,) = rows(0, [10], 0.6)
    logits = model(input_ids=torch.tensor([row.token_ids])).logits[0]
    chosen = logits[[p - 1 for p in row.positions]] / 0.6
    expected = torch.distributions.Categorical(logits=chosen).entropy()
    assert torch.allclose(token_logprobs(model, [row]).entropy_T, expected, atol=1e-5)


def test_micro_batches_keep_the_budget_and_every_row() -> None:
    model = tiny_model()
    sequences = rows(0, [5, 50, 7, 20, 20, 49])
    batches = micro_batches(model, sequences, 110)
    assert sorted(i for batch in batches for i in batch) == list(range(6))
    for batch in batches:
        longest = max(len(sequences[i].token_ids) for i in batch)
        assert len(batch) == 1 or len(batch) * longest <= 110
    assert micro_batches(model, rows(0, [300]), 10) == [[0]]


def test_packed_micro_batches_count_what_rows_share_once() -> None:
    model = tiny_model()
    assert pack_rows(model) is None
    sequences = rows(100, [8, 8, 8, 8])  # 100 + 4 × 8: the last token of a row predicts nothing
    assert micro_batches(model, sequences, 132) == [[0, 1, 2, 3]]
    assert sorted(map(len, micro_batches(model, sequences, 131))) == [1, 3]
