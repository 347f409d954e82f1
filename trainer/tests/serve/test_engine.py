"""The engine against transformers' own forward, and against itself in company."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from nightshift_trainer.serve.engine import Engine
from nightshift_trainer.serve.model import Models
from nightshift_trainer.serve.row import Row
from nightshift_trainer.serve.sampling import Sampling
from nightshift_trainer.serve.shapes import Shapes


@dataclass(frozen=True)
class Running:
    engine: Engine
    models: Models
    directory: Path

    def row(
        self,
        prompt_ids: list[int],
        *,
        max_tokens: int = 12,
        temperature: float = 1.0,
        seed: int = 1,
        model: str | None = None,
        prompt_logprobs: int | None = None,
    ) -> Row:
        return Row(
            weights=self.models.get(model),
            prompt_ids=prompt_ids,
            max_tokens=max_tokens,
            sampling=Sampling(temperature, 1.0, seed),
            notify=lambda: None,
            prompt_logprobs=prompt_logprobs,
        )

    def finish(self, rows: list[Row]) -> list[Row]:
        events = [threading.Event() for _ in rows]
        for row, event in zip(rows, events, strict=True):
            row.notify = event.set
            self.engine.submit(row)
        for event in events:
            assert event.wait(60)
        return rows


@pytest.fixture(scope="module", params=[True, False], ids=["elastic", "full shape"])
def running(tiny: Path, request: pytest.FixtureRequest) -> Iterator[Running]:
    models = Models(tiny / "model", "base", max_loras=4, max_lora_rank=64)
    models.load("good", str(tiny / "adapters" / "good"))
    engine = Engine(Shapes(8, 512, elastic=request.param), 1, frozenset(), lambda ids: "")
    engine.start()
    yield Running(engine, models, tiny)
    engine.stop()


def ids(count: int, salt: int) -> list[int]:
    generator = torch.Generator().manual_seed(salt)
    return torch.randint(0, 400, (count,), generator=generator).tolist()


def reference_logprobs(directory: Path, prompt_ids: list[int]) -> torch.Tensor:
    """[T, V] of the untouched model without any cache."""
    model = AutoModelForCausalLM.from_pretrained(directory / "model", dtype=torch.float32)
    with torch.inference_mode():
        return torch.log_softmax(model(torch.tensor([prompt_ids])).logits[0], -1)


@pytest.mark.parametrize("length", [1, 5, 16, 17, 32, 70, 100, 130, 200, 230])
def test_sampled_logprobs_are_those_of_the_plain_model(running: Running, length: int) -> None:
    prompt = ids(length, salt=length)
    (row,) = running.finish([running.row(prompt, max_tokens=40)])
    whole = reference_logprobs(running.directory, prompt + row.token_ids)
    expected = [whole[length - 1 + at, token].item() for at, token in enumerate(row.token_ids)]
    assert len(row.token_ids) == 40
    assert row.logprobs == pytest.approx(expected, abs=2e-4)


def test_prompt_logprobs_are_those_of_the_plain_model(running: Running) -> None:
    prompt = ids(75, salt=75)
    (row,) = running.finish([running.row(prompt, max_tokens=1, prompt_logprobs=3)])
    whole = reference_logprobs(running.directory, prompt)
    assert len(row.scored) == 74
    for at, scored in enumerate(row.scored):
        chosen = whole[at, prompt[at + 1]].item()
        assert scored.logprob == pytest.approx(chosen, abs=2e-4)
        assert [token for token, _ in scored.top] == whole[at].topk(3).indices.tolist()
        assert scored.rank == int((whole[at] >= chosen - 1e-6).sum()) or scored.rank > 0


def test_a_row_has_the_same_bytes_alone_cached_and_in_company(running: Running) -> None:
    """Lengths are chosen so that rows share passes, slots, prefixes and outgrow their slot while decoding."""

    def mine() -> Row:
        return running.row(shared + ids(41, salt=2), max_tokens=60, seed=77)

    shared = ids(70, salt=1)
    (alone,) = running.finish([mine()])
    (cached,) = running.finish([mine()])
    for round_ in range(3):
        company = [
            running.row(
                shared[: 70 if n % 3 else 10] + ids(5 + 7 * n, salt=100 * round_ + n),
                max_tokens=3 + 5 * n,
                temperature=n % 2 * 0.7,
                seed=n,
                model="good" if n % 4 == 3 else None,
            )
            for n in range(14)
        ]
        at = round_ * 6
        rows = running.finish([*company[:at], mine(), *company[at:]])
        assert rows[at].token_ids == alone.token_ids == cached.token_ids
        assert rows[at].logprobs == alone.logprobs == cached.logprobs


def test_every_slot_computes_the_same_bytes(running: Running) -> None:
    prompt = ids(40, salt=9)
    rows = running.finish([running.row(prompt, max_tokens=20, seed=5) for _ in range(20)])
    assert {tuple(row.token_ids) for row in rows} == {tuple(rows[0].token_ids)}
    assert {tuple(row.logprobs) for row in rows} == {tuple(rows[0].logprobs)}


def test_a_cancelled_row_ends_and_frees_its_slot(running: Running) -> None:
    rows = [running.row(ids(20, salt=n), max_tokens=400, seed=n) for n in range(10)]
    for row in rows:
        row.stream = True
        row.notify = row.cancelled.set  # the first token cancels it
        running.engine.submit(row)
    (after,) = running.finish([running.row(ids(20, salt=50), max_tokens=5)])
    assert after.finish_reason == "length"
    assert [row.finish_reason for row in rows] == ["abort"] * 10
    assert all(len(row.token_ids) < 50 for row in rows)


def test_unloaded_weights_finish_what_they_began(running: Running) -> None:
    running.models.load("brief", str(running.directory / "adapters" / "other"))
    row = running.row(ids(20, salt=3), max_tokens=30, model="brief")
    (kept,) = running.finish([running.row(ids(20, salt=3), max_tokens=30, model="brief")])
    running.engine.forget(running.models.unload("brief"))
    running.finish([row])
    assert row.token_ids == kept.token_ids
    assert "brief" not in [weights.name for weights in running.models.all()]
