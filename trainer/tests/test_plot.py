"""The picture of a run, on rows made by hand."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from nightshift_trainer.__main__ import main
from nightshift_trainer.picture import slots_of


def step(iteration: int, number: int, **fields: Any) -> dict[str, Any]:
    values = {
        "k3": 0.001,
        "kl_to_base": None,
        "entropy": 1.5,
        "grad_norm": 0.5,
        "ratio_p95": 1.25,
        "stopped": None,
    }
    speed = {"seconds": 2, "logical_tokens_per_s": 4000, "physical_tokens_per_s": 1000}
    return {"type": "step", "iteration": iteration, "step": number, **values, **speed, **fields}


def published(iteration: int, reward: float, kept: int) -> dict[str, Any]:
    groups = {"groups_kept": kept, "groups_dropped": {"zero_variance": 6 - kept}}
    return {
        "type": "iteration",
        "iteration": iteration,
        "reward_mean": reward,
        "reward_spread": 0.1,
        **groups,
    }


# The second iteration had nothing to learn from; the third was stopped at its second step, and is not published.
ROWS = [
    *(step(1, 1), step(1, 2), published(1, 0.25, 4), published(2, 0.5, 0)),
    *(step(3, 3), step(3, 3, stopped="mean k3 0.0400 > 0.03")),
]


ITERATIONS = ["iteration 1", "iteration 2", "iteration 3"]
STEPS = ["1", "2", "none", "3", "stopped", "optimiser step"]
WORDS = [
    *("0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.25", "0.50"),
    *(*ITERATIONS, "Reward of the batch (band: deviation inside groups)"),
    *("0", "2", "4", "6", *ITERATIONS, "Groups of the batch", "kept", "dropped"),
    *("0", "0.0002", "0.0004", "0.0006", "0.0008", "0.001", "k3: drift from the sampler"),
    *("not measured", "KL to the base model"),
    *("1.43", "1.45", "1.48", "1.5", "1.53", "1.55", "1.58", "Entropy, nats per token"),
    *("0", "0.1", "0.2", "0.3", "0.4", "0.5", "Gradient norm before clipping"),
    *(*STEPS, "1", "1.05", "1.1", "1.15", "1.2", "1.25", "Ratio to the sampler, 95th percentile"),
    *(*STEPS, "0", "1,000", "2,000", "3,000", "4,000", "Tokens per second", "logical", "physical"),
    "run 7 of agent shop",
    "2 iterations published  ·  3 steps  ·  8.0 s in steps  ·  1 stopped before the weights moved (hollow)",
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS) + '{"type":"st')
    (tmp_path / "run.json").write_text(json.dumps({"run_id": "7", "agent": "shop", "sabotage": None}))
    return tmp_path


def test_every_step_has_a_place_and_so_has_an_iteration_without_any() -> None:
    slots = slots_of(ROWS)
    assert slots.spans == {1: (0, 1), 2: (2, 2), 3: (3, 4)}
    assert slots.steps == (ROWS[0], ROWS[1], None, ROWS[4], ROWS[5])


def test_its_words_and_bytes_are_always_the_same(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", str(run)]) == 0
    assert capsys.readouterr().out == f"{run}/run.svg\n"
    first = (run / "run.svg").read_bytes()
    words = re.findall(r"<text[^>]*>([^<]*)</text>", first.decode())
    assert words == WORDS
    assert main(["plot", str(run / "run.json"), "--out", str(run / "again.svg")]) == 0
    assert (run / "again.svg").read_bytes() == first


@pytest.mark.parametrize(
    ("out", "problem"),
    [
        ("run.pdf", "--out ends in .pdf: .svg or .png can be drawn"),
        ("nowhere/run.svg", "cannot be written: No such file or directory"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    run: Path, capsys: pytest.CaptureFixture[str], out: str, problem: str
) -> None:
    assert main(["plot", str(run), "--out", str(run / out)]) == (64 if "ends" in problem else 75)
    assert problem in capsys.readouterr().err


def test_without_rows_or_without_matplotlib_it_says_what_to_do(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "nightshift_trainer.picture", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["plot", str(run)]) == 64
    assert "pip install 'nightshift-trainer[plot]'" in capsys.readouterr().err
    (run / "metrics.jsonl").write_text("")
    assert main(["plot", str(run)]) == 64
    assert capsys.readouterr().err.endswith("metrics.jsonl has no row yet\n")
    assert main(["plot", str(run / "nowhere" / "run.json")]) == 64
