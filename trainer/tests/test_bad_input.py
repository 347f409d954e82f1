"""What a person or another program can hand over wrong: the exit code, and what status.json and stderr say of it."""

import copy
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nightshift_trainer import step
from nightshift_trainer.base_model import base_digest
from tests.run_files import sampled_groups, tiny_model, write_batch, write_raw_batch
from tests.test_process import first_tokens, status
from tests.trainer_process import train

MakeRun = Callable[..., Path]
FILE = "batch-1/groups.jsonl.gz"


def refused(run: Path, code: int) -> str:
    """Trains; the reason in status.json, which stderr repeats."""
    assert train(run) == code
    outcome = status(run)["outcome"]
    assert (outcome["status"], outcome["exit_code"]) == ("failed", code)
    assert f"error: {outcome['reason']}" in (run / "stderr").read_text()
    assert not list(run.glob("adapter-*"))
    return outcome["reason"]


def changed_call(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda member: member["calls"][0].update(changes)


def without_logprobs(member: dict[str, Any]) -> None:
    del member["calls"][0]["logprobs"]


def one_logprob_less(member: dict[str, Any]) -> None:
    member["calls"][0]["logprobs"].pop()


def positive_logprob(member: dict[str, Any]) -> None:
    member["calls"][0]["logprobs"][2] = 0.25


def nan_logprob(member: dict[str, Any]) -> None:
    member["calls"][0]["logprobs"][2] = float("nan")


def second_call_unknown_id(member: dict[str, Any]) -> None:
    first = member["calls"][0]
    so_far = first["prompt_token_ids"] + first["completion_token_ids"]
    member["calls"].append({**first, "prompt_token_ids": [*so_far, 64]})


def second_call_too_long(member: dict[str, Any]) -> None:
    """The model takes 256: a prompt of 251 and six more."""
    first = member["calls"][0]
    so_far = first["prompt_token_ids"] + first["completion_token_ids"]
    member["calls"].append({**first, "prompt_token_ids": so_far + [1] * (251 - len(so_far))})


def reward(value: float) -> Callable[[dict[str, Any]], None]:
    return lambda member: member.update(reward=value)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (changed_call(prompt_token_ids=[-3]), f"{FILE} line 3: members.1.calls.0.prompt_token_ids.0: "),
        (changed_call(completion_token_ids=[]), f"{FILE} line 3: members.1.calls.0.completion_token_ids: "),
        (changed_call(logprobs=[]), f"{FILE} line 3: members.1.calls.0.logprobs: "),
        (without_logprobs, f"{FILE} line 3: members.1.calls.0.logprobs: Field required"),
        (
            one_logprob_less,
            f"{FILE} line 3: members.1.calls.0: Value error, 5 logprobs for 6 completion tokens",
        ),
        (positive_logprob, f"{FILE} line 3: members.1.calls.0.logprobs.2: "),
        (nan_logprob, f"{FILE} line 3: members.1.calls.0.logprobs.2: "),
        (reward(float("nan")), f"{FILE} line 3: members.1.reward: Input should be a finite number"),
        (reward(float("inf")), f"{FILE} line 3: members.1.reward: Input should be a finite number"),
        (
            second_call_unknown_id,
            f"{FILE} line 3: rollout 0-2-1 call 1 has token id 64, the base model has 64",
        ),
        (
            second_call_too_long,
            f"{FILE} line 3: rollout 0-2-1 call 1 has 257 tokens, the base model takes 256",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", "").strip("<>") if callable(value) else "",
)
def test_a_batch_that_cannot_be_trained_on_ends_with_65(
    make_run: MakeRun, spoil: Callable[[dict[str, Any]], None], says: str
) -> None:
    run = make_run()
    groups = sampled_groups(tiny_model(), first_tokens)
    spoil(groups[2]["members"][1])
    write_batch(run, 1, groups)
    assert refused(run, 65).startswith(says)


def test_a_token_without_a_probability_costs_its_member_and_nothing_else(make_run: MakeRun) -> None:
    """As if whoever wrote the batch had excluded the member: the same adapter, to the byte."""
    groups = sampled_groups(tiny_model(), first_tokens)
    published: list[tuple[bytes, dict[str, Any]]] = []
    for name in ("spoiled", "excluded"):
        run, batch = make_run(name), copy.deepcopy(groups)
        if name == "spoiled":
            batch[1]["members"][3]["calls"][0]["logprobs"][2] = -9999.0
        else:
            batch[1]["members"][3]["excluded_from_loss"] = True
        write_batch(run, 1, batch)
        assert train(run) == 0
        adapter = run / "adapter-1"
        metrics = json.loads((adapter / "manifest.json").read_text())["metrics"]
        published.append(((adapter / "adapter_model.safetensors").read_bytes(), metrics))
    assert published[0][0] == published[1][0]
    assert published[0][1] == {**published[1][1], "members_without_probability": 1}
    assert published[1][1]["members_excluded"] == 1
    assert published[0][1]["logprob_mean_abs_delta"] < 1e-6
    said = (run.parent / "spoiled" / "stderr").read_text()
    assert "left out 1 members without a probability" in said


def test_a_batch_without_any_probability_teaches_nothing_and_says_so(make_run: MakeRun) -> None:
    run = make_run()
    groups = sampled_groups(tiny_model(), first_tokens)
    for each in (m for g in groups for m in g["members"]):
        each["calls"][0]["logprobs"][0] = -9999.0
    write_batch(run, 1, groups)
    assert train(run) == 0
    assert status(run)["outcome"]["status"] == "nothing_to_learn"
    metrics = json.loads((run / "adapter-1" / "manifest.json").read_text())["metrics"]
    assert (metrics["groups_dropped"], metrics["members_without_probability"]) == ({"no_loss_member": 4}, 32)


def test_a_line_that_is_cut_off_ends_with_65(make_run: MakeRun) -> None:
    run = make_run()
    groups = sampled_groups(tiny_model(), first_tokens)
    text = "".join(json.dumps(line) + "\n" for line in groups)
    write_raw_batch(run, 1, text[:-40], 4, 32)
    assert refused(run, 65).startswith(f"{FILE} line 4: ")


def test_a_sequence_as_long_as_the_model_takes_is_trained(make_run: MakeRun) -> None:
    run = make_run(logprob_gate__max_mean_abs_delta=100, loss__kind="grpo")
    groups = sampled_groups(tiny_model(), first_tokens, groups=1, size=2)
    second_call_too_long(groups[0]["members"][1])
    groups[0]["members"][1]["calls"][1]["prompt_token_ids"].pop()
    write_batch(run, 1, groups)
    assert train(run) == 0


def test_one_group_is_enough_and_constant_groups_are_nothing_to_learn(make_run: MakeRun) -> None:
    one = make_run("one")
    write_batch(one, 1, sampled_groups(tiny_model(), first_tokens, groups=1))
    assert train(one) == 0
    assert (status(one)["outcome"]["status"], status(one)["step"]) == ("completed", 1)
    flat = make_run("flat")
    write_batch(flat, 1, sampled_groups(tiny_model(), lambda _: 0.5))
    assert train(flat) == 0
    assert status(flat)["outcome"] == {
        "status": "nothing_to_learn",
        "exit_code": 0,
        "reason": "no group of any batch carried signal",
    }


def test_another_base_model_ends_with_64(make_run: MakeRun, base_path: Path) -> None:
    wrong = "sha256:" + "d" * 64
    reason = refused(make_run(base_model__digest=wrong), 64)
    assert reason == f"base_model.digest: {base_path} is {base_digest(base_path)}, run.json says {wrong}"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"run_id": "run-2"}, 'run_id was "run-1", is "run-2"'),
        ({"lora__rank": 8}, "lora.rank was 4, is 8"),
        (
            {"loss__correction": {"tis_cap": 2, "mask_low": 0.9, "mask_high": 1.1}},
            "loss.correction was null, is {",
        ),
        ({"base": 3}, 'base_model.digest was "sha256:'),
    ],
    ids=["run", "lora", "loss", "base"],
)
def test_a_checkpoint_of_another_run_ends_with_64(
    make_run: MakeRun, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    before = make_run("before")
    write_batch(before, 1, sampled_groups(tiny_model(), first_tokens))
    assert train(before) == 0
    if "base" in change:
        tiny_model(layers=change["base"]).save_pretrained(tmp_path / "other")
        change = {
            "base_model__path": str(tmp_path / "other"),
            "base_model__digest": base_digest(tmp_path / "other"),
        }
    after = make_run("after", **change)
    shutil.copytree(before / "checkpoint-2", after / "checkpoint-2")
    reason = refused(after, 64)
    assert reason.startswith(f"checkpoint-2 was made with another run.json ({says}")
    assert reason.endswith("; a changed run needs a new directory")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lora__rank": 8}, r"has shape \(4, 64\), the run asks for \(8, 64\)"),
        ({"lora__alpha": 8}, "its alpha is 16.0, the run asks for 8.0"),
        ({"base": 3}, "it was trained on base sha256:"),
    ],
    ids=["rank", "alpha", "base"],
)
def test_a_start_adapter_of_another_shape_or_base_ends_with_64(
    make_run: MakeRun, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    before = make_run("before")
    write_batch(before, 1, sampled_groups(tiny_model(), first_tokens))
    assert train(before) == 0
    start = {"path": str(before / "adapter-1"), "digest": "any"}
    if "base" in change:
        tiny_model(layers=change["base"]).save_pretrained(tmp_path / "other")
        change = {
            "base_model__path": str(tmp_path / "other"),
            "base_model__digest": base_digest(tmp_path / "other"),
        }
    reason = refused(make_run("after", start_adapter=start, **change), 64)
    assert reason.startswith(f"start_adapter.path: {before / 'adapter-1'} cannot be continued: ")
    assert re.search(says, reason), reason


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"
        ),
    ],
    ids=["gpu", "cpu"],
)
def test_memory_that_does_not_suffice_for_one_row_may_be_retried(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    def none(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(step, "token_logprobs", none)
    run = make_run()
    write_batch(run, 1, sampled_groups(tiny_model(), first_tokens))
    reason = refused(run, 75)
    assert reason.startswith("a micro-batch of 1 rows and 25 tokens does not fit into memory: turn ")
    assert str(error) in reason
