"""The bound on a batch's distance from its sampler: configured, or measured on the run's first batch."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nightshift_trainer.agreement_bound import Bounds, bounds_of
from nightshift_trainer.config import LogprobGate
from tests.run_files import rewarded_tokens, sampled_groups, tiny_model, write_batch
from tests.test_three_policies import shifted
from tests.test_train import manifest, train

MakeRun = Callable[..., Path]


def published(run: Path, *deltas: float | None) -> None:
    for number, delta in enumerate(deltas, 1):
        (run / f"adapter-{number}").mkdir()
        text = json.dumps({"metrics": {"logprob_mean_abs_delta": delta}})
        (run / f"adapter-{number}" / "manifest.json").write_text(text)


def test_by_hand(tmp_path: Path) -> None:
    grows = LogprobGate(max_mean_abs_delta=0.05, max_growth=3)
    published(tmp_path, 0.004, 0.009)
    assert bounds_of(tmp_path, 1, grows) == Bounds(0.05, 0.05)
    # Three times the first, whatever the second showed.
    assert bounds_of(tmp_path, 3, grows) == Bounds(0.05, 3 * 0.004)
    assert bounds_of(tmp_path, 3, LogprobGate(max_mean_abs_delta=0.05)) == Bounds(0.05, 0.05)
    # Never above the configured bound, never below what moves no ratio by more than a thousandth.
    assert bounds_of(tmp_path, 3, LogprobGate(max_mean_abs_delta=0.005, max_growth=3)) == Bounds(0.005, 0.005)
    quiet = tmp_path / "quiet"
    quiet.mkdir()
    # The first batch taught nothing, so nothing was compared.
    published(quiet, None, 2e-6)
    assert bounds_of(quiet, 2, grows) == Bounds(0.05, 0.05)
    assert bounds_of(quiet, 3, grows) == Bounds(0.05, 0.001)


@pytest.mark.parametrize(("second", "accepted"), [(0.005, True), (0.007, False)])
def test_nothing_is_learned_from_a_batch_much_further_from_its_sampler_than_the_first(
    make_run: MakeRun, second: float, accepted: bool
) -> None:
    """The rate is so small that the policy stays what samples both batches; 3 × 0.002 = 0.006."""
    gate = {"max_mean_abs_delta": 0.05, "max_growth": 3}
    run = make_run(iterations=2, optimizer__lr=1e-9, logprob_gate=gate)
    for k, by in ((1, 0.002), (2, second)):
        groups = sampled_groups(tiny_model(), rewarded_tokens, seed=k)
        write_batch(run, k, shifted(groups, lambda _: True, by))
    if accepted:
        assert train(run).step == 4
        assert manifest(run, 2)["metrics"]["logprob_mean_abs_delta"] == pytest.approx(second, rel=1e-2)
        return
    assert train(run).step == 2
    left = manifest(run, 2)["metrics"]
    assert left["steps"] == 0
    assert left["stopped"].startswith("mean |trainer - sampler| logprob 0.0070 > 0.006")
