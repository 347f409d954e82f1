"""Whole runs in this process: does it learn what is rewarded, and refuse what it must."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from statistics import pstdev
from threading import Event
from typing import Any

import jsonschema
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from nightshift_trainer import reference, step
from nightshift_trainer.checkpoint import Progress
from nightshift_trainer.config import load_config
from nightshift_trainer.errors import ConfigError, DatasetError, DeadlineError, OutOfMemoryError
from nightshift_trainer.handover import digest_of
from nightshift_trainer.status import Status
from nightshift_trainer.train import Night
from tests.run_files import group, memory_for, rewarded_tokens, sampled_groups, tiny_model, write_batch
from tests.trainer_process import mean_rewards

MakeRun = Callable[..., Path]


def train(run: Path) -> Progress:
    directory, config = load_config(run)
    night = Night(directory, config, Status(directory, config), Event(), lambda _: None)
    night.run()
    return night.progress


def manifest(run: Path, iteration: int = 1) -> dict[str, Any]:
    return json.loads((run / f"adapter-{iteration}" / "manifest.json").read_text())


@pytest.mark.parametrize(
    ("kind", "sabotage", "learns"),
    [("cispo", None, True), ("grpo", None, True), ("cispo", "shuffle_rewards", False)],
)
def test_reward_rises_only_when_it_tells_something(
    make_run: MakeRun, kind: str, sabotage: str | None, learns: bool
) -> None:
    """The whole loop against a living trainer: sample with adapter k, reward a quarter of the tokens, train k + 1."""
    run = make_run(loss__kind=kind, sabotage=sabotage, iterations=6)
    means = mean_rewards(run, 6)
    gain = means[-1] - means[0]
    assert gain > 0.15 if learns else abs(gain) < 0.1, means


# One group has 67 different tokens at most: the rest of its probes are filled up.
@pytest.mark.parametrize(("groups", "steps"), [(4, 2), (1, 1)])
def test_the_adapter_is_what_peft_loads_and_the_reference_tells_its_effect(
    make_run: MakeRun, groups: int, steps: int
) -> None:
    run = make_run(probe__min_tokens=100)
    model = tiny_model()
    write_batch(run, 1, sampled_groups(model, rewarded_tokens, groups=groups))
    assert train(run).step == steps
    assert all("lora" in name for name in load_file(run / "adapter-1" / "adapter_model.safetensors"))
    reference = json.loads((run / "adapter-1" / "reference.json").read_text())
    assert sum(len(probe["positions"]) for probe in reference["probes"]) == 100
    tuned = PeftModel.from_pretrained(tiny_model(), run / "adapter-1")
    effects = []
    for probe in reference["probes"]:
        ids = torch.tensor([probe["prompt_token_ids"]])
        before = torch.tensor(probe["positions"]) - 1
        for each, key in ((model, "base_logprobs"), (tuned, "adapter_logprobs")):
            logp = torch.log_softmax(each(input_ids=ids).logits[0, before], -1)
            served = logp.gather(1, ids[0, before + 1, None])[:, 0]
            assert torch.allclose(served, torch.tensor(probe[key]), atol=1e-5)
        effects += [
            abs(a - b) for a, b in zip(probe["adapter_logprobs"], probe["base_logprobs"], strict=True)
        ]
    assert min(effects) > 0


def test_iterations_chain_and_metrics_are_whole(make_run: MakeRun) -> None:
    run = make_run(iterations=2, logprob_gate__max_mean_abs_delta=1, optimizer__lr=0.001)
    masked = {"rollout_id": "m", "masked": True, "staleness": 0, "calls": []}
    for k in (1, 2):
        groups = sampled_groups(tiny_model(), rewarded_tokens, seed=k)
        groups[0]["members"].append({**masked, "rollout_id": f"m{k}"})
        groups.append(
            group(
                f"flat-{k}",
                [{**m, "reward": 1, "rollout_id": f"f{k}{m['rollout_id']}"} for m in groups[1]["members"]],
            )
        )
        write_batch(run, k, groups)
    train(run)
    first, second = manifest(run, 1), manifest(run, 2)
    assert (first["parent_adapter_digest"], first["step"], second["step"]) == (None, 2, 4)
    assert second["parent_adapter_digest"] != first["parent_adapter_digest"]
    metrics = first["metrics"]
    assert metrics["logprob_mean_abs_delta"] < 1e-6
    assert metrics["logprob_correlation"] > 0.9999
    assert metrics["groups_dropped"] == {"zero_variance": 1}
    assert (metrics["groups_kept"], metrics["members_masked"], metrics["steps"]) == (4, 1, 2)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["type"] for row in rows] == ["step", "step", "iteration"] * 2
    assert all(row["physical_tokens"] < row["logical_tokens"] for row in rows)


def test_a_batch_of_another_policy_is_refused_before_anything_moves(make_run: MakeRun) -> None:
    run = make_run()
    groups = sampled_groups(tiny_model(), rewarded_tokens)
    for each in groups:
        for m in each["members"]:
            m["calls"][0]["logprobs"] = [x - 0.5 for x in m["calls"][0]["logprobs"]]
    write_batch(run, 1, groups)
    with pytest.raises(
        DatasetError, match=r"batch-1/groups\.jsonl\.gz: mean \|trainer - sampler\| logprob is 0\.5000"
    ):
        train(run)
    assert not (run / "adapter-1").exists()
    assert not list(run.glob("checkpoint-*"))


def test_cispo_stops_a_batch_that_moved_too_far(make_run: MakeRun) -> None:
    run = make_run(optimizer__lr=0.3)
    write_batch(run, 1, sampled_groups(tiny_model(), rewarded_tokens))
    assert train(run).step == 1
    metrics = manifest(run)["metrics"]
    assert metrics["steps"] == 1
    assert metrics["stopped"].startswith(("mean k3", "ratio p95"))


def test_a_batch_that_does_not_fit_is_cut_smaller_until_it_does(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory for 60 tokens: a group is 20 shared tokens and 8 × 5 own ones, its half 40."""
    groups = sampled_groups(tiny_model(), rewarded_tokens)
    small, short = make_run("small", micro_batch_tokens=30), make_run("short", micro_batch_tokens=1000)
    for run in (small, short):
        write_batch(run, 1, groups)
    train(small)

    monkeypatch.setattr(step, "token_logprobs", memory_for(59))
    said: list[str] = []
    directory, config = load_config(short)
    Night(directory, config, Status(directory, config), Event(), said.append).run()
    assert [line for line in said if "out of memory" in line] == [
        "  out of memory with 60 tokens at once: trying 30 instead"
    ]
    expected = load_file(small / "adapter-1" / "adapter_model.safetensors")
    for name, tensor in load_file(short / "adapter-1" / "adapter_model.safetensors").items():
        assert torch.equal(tensor, expected[name]), name


def test_probes_that_do_not_fit_are_cut_smaller_too(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A night without a step has not found out yet what fits."""
    groups = sampled_groups(tiny_model(), lambda _: 0.5)
    roomy, cramped = make_run("roomy"), make_run("cramped")
    for run in (roomy, cramped):
        write_batch(run, 1, groups)
    train(roomy)

    monkeypatch.setattr(reference, "token_logprobs", memory_for(100))
    train(cramped)
    before, after = (json.loads((r / "adapter-1" / "reference.json").read_text()) for r in (roomy, cramped))
    assert [p["positions"] for p in after["probes"]] == [p["positions"] for p in before["probes"]]


def test_every_measure_of_a_night_is_written(make_run: MakeRun) -> None:
    run = make_run(iterations=1, minibatches_per_batch=1)
    groups = sampled_groups(tiny_model(), rewarded_tokens, groups=2, size=4)
    groups.append(group("alone", [{**groups[0]["members"][0], "rollout_id": "alone"}]))
    write_batch(run, 1, groups)
    train(run)
    step_row, iteration_row = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    rewards = [[m["reward"] for m in g["members"]] for g in groups]
    every = [r for of_group in rewards for r in of_group]
    metrics = manifest(run)["metrics"]
    assert metrics["reward_mean"] == pytest.approx(sum(every) / len(every))
    assert metrics["reward_spread"] == pytest.approx(sum(pstdev(x) for x in rewards) / 3)
    assert (metrics["groups_kept"], metrics["groups_dropped"]) == (2, {"too_few_members": 1})
    # The batch was sampled from this very policy, which no step has moved yet.
    for row in (step_row, metrics):
        assert row["ratio_mean"] == pytest.approx(1, abs=1e-5)
        assert row["ratio_p95"] == pytest.approx(1, abs=1e-5)
        assert row["clipped_share"] == 0
        assert row["kl_to_base"] == pytest.approx(0, abs=1e-7)
        assert 0 <= row["k3"] < 1e-8
        assert 0 < row["entropy"] < math.log(64)
        assert row["grad_norm"] > 0
        assert row["logprob_mean_abs_delta"] < 1e-5
        assert row["logprob_correlation"] > 0.9999
        # 8 members of 26 tokens; two prompts of 20 once, and five own tokens each that something follows.
        assert (row["sampled_tokens"], row["logical_tokens"]) == (48, 208)
        assert row["physical_tokens"] <= 2 * 20 + 8 * 5
    for kind in ("logical", "physical"):
        rate = step_row[f"{kind}_tokens"] / step_row["seconds"]
        assert step_row[f"{kind}_tokens_per_s"] == pytest.approx(rate)
    assert step_row["peak_memory_bytes"] > 2**20
    assert {name: iteration_row[name] for name in metrics} == metrics
    assert iteration_row["adapter_digest"] == digest_of((run / "adapter-1" / "manifest.json").read_bytes())


def test_a_row_that_does_not_fit_alone_ends_the_run_with_what_to_do(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(step, "token_logprobs", none)
    run = make_run()
    write_batch(run, 1, sampled_groups(tiny_model(), rewarded_tokens))
    with pytest.raises(OutOfMemoryError, match=r"1 rows and \d+ tokens does not fit.*gradient_checkpointing"):
        train(run)


def test_nothing_to_learn_publishes_the_adapter_unchanged(make_run: MakeRun) -> None:
    run = make_run()
    write_batch(run, 1, sampled_groups(tiny_model(), lambda _: 0.5))
    assert train(run).step == 0
    assert manifest(run)["metrics"]["groups_dropped"] == {"zero_variance": 4}
    weights = load_file(run / "adapter-1" / "adapter_model.safetensors")
    assert all(not tensor.any() for name, tensor in weights.items() if "lora_B" in name)


def test_a_batch_that_never_comes_is_a_deadline(make_run: MakeRun) -> None:
    with pytest.raises(DeadlineError, match=r"no batch-1 with a whole manifest within 0\.2 s"):
        train(make_run(batch_deadline_s=0.2))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"base_model__path": "nowhere"}, "base_model.path: .* is not a model"),
        ({"start_adapter": {"path": "nowhere", "digest": "d"}}, "start_adapter.path: .* cannot be continued"),
    ],
)
def test_what_cannot_be_loaded_is_a_config_error(
    make_run: MakeRun, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        train(make_run(**changes))


def test_the_committed_schema_accepts_the_tests_own_run(make_run: MakeRun) -> None:
    schema = json.loads((Path(__file__).parents[1] / "nightshift_trainer/schema/run.json").read_text())
    jsonschema.validate(json.loads((make_run() / "run.json").read_text()), schema)
