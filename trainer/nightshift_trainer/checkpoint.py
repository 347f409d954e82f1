"""Where a run stands, on disk: adapter, optimiser moments, counters. safetensors and JSON, manifest last, never pickle.

Random state needs no bytes of its own: it is drawn anew from (seed, iteration, minibatch) before every minibatch, so
the counters are the random state, and the next step after a resume is the step that would have come.
"""

import json
import shutil
from collections.abc import Sequence as Seq
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.optim import Optimizer

from nightshift_trainer.config import RunConfig
from nightshift_trainer.errors import ConfigError
from nightshift_trainer.handover import (
    MANIFEST,
    TornError,
    digest_of,
    encode_json,
    publish,
    read_manifest,
    read_verified,
)
from nightshift_trainer.lora import Policy
from nightshift_trainer.report import StepReport

STATE = "state.json"
TENSORS = "state.safetensors"
PROXIMAL = "proximal"
KEPT = 2
_FREE_TO_CHANGE = {
    *("threads", "batch_deadline_s", "heartbeat_interval_s", "checkpoint_every_steps"),
    # Decides refusals, no number: a run that was refused goes on with a wider one.
    "logprob_gate",
}


@dataclass(frozen=True, slots=True)
class Progress:
    """`step` steps were taken in the run; of `iteration`, the minibatches before `minibatch` are done (`reports`)."""

    step: int = 0
    iteration: int = 1
    minibatch: int = 0
    reports: tuple[StepReport, ...] = ()

    def after(self, report: StepReport) -> "Progress":
        """One minibatch later."""
        moved = 1 if report.stopped is None else 0
        return replace(
            self, step=self.step + moved, minibatch=self.minibatch + 1, reports=(*self.reports, report)
        )

    def next_iteration(self) -> "Progress":
        """At the beginning of the next batch."""
        return Progress(step=self.step, iteration=self.iteration + 1)


def seed_minibatch(seed: int, progress: Progress) -> None:
    """Sets torch's random state for the minibatch that `progress` stands before."""
    text = f"{seed}/{progress.iteration}/{progress.minibatch}".encode()
    torch.manual_seed(int(digest_of(text)[7:23], 16) >> 1)


def save_checkpoint(
    directory: Path,
    config: RunConfig,
    policy: Policy,
    optimizer: Optimizer,
    progress: Progress,
    proximal_T: Tensor | None = None,
) -> Path:
    """Writes `checkpoint-<step>` unless it is there, then deletes all but the newest two. `proximal_T` is the begun
    batch's π_old: once its first step is taken, the weights that gave it are gone."""
    tensors = {f"adapter.{name}": tensor for name, tensor in policy.adapter_tensors().items()}
    if proximal_T is not None:
        tensors[PROXIMAL] = proximal_T
    for name, parameter in policy.parameters().items():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = value.detach().cpu().contiguous()
    state = {"run": run_digest(config), "config": _decisive(config), **asdict(progress)}
    target = directory / f"checkpoint-{progress.step}"
    files = {STATE: encode_json(state), TENSORS: save(tensors)}
    publish(target, files, {"version": 1, "run_id": config.run_id, "step": progress.step})
    for old in _checkpoints(directory)[KEPT:]:
        (old / MANIFEST).unlink(
            missing_ok=True
        )  # first, so that a crash in between leaves nothing that looks complete
        shutil.rmtree(old, ignore_errors=True)
    return target


def resume(
    directory: Path, config: RunConfig, policy: Policy, optimizer: Optimizer
) -> tuple[Progress, Tensor | None] | None:
    """Restores the newest complete checkpoint, passing over torn ones; with the π_old of a begun batch, where the
    checkpoint has one. ConfigError when it is of another run.json."""
    for candidate in _checkpoints(directory):
        files = _read(candidate)
        if files is None:
            continue
        state = json.loads(files[STATE])
        made_with = state.pop("config", {})
        if state.pop("run") != run_digest(config):
            raise ConfigError(
                f"{candidate.name} was made with another run.json ({_difference(made_with, _decisive(config))}); "
                "a changed run needs a new directory"
            )
        tensors = load(files[TENSORS])
        proximal_T = tensors.pop(PROXIMAL, None)
        _restore(tensors, policy, optimizer)
        reports = tuple(StepReport(**report) for report in state.pop("reports"))
        return Progress(**state, reports=reports), proximal_T
    return None


def run_digest(config: RunConfig) -> str:
    """Digest of what decides the numbers of a run."""
    return digest_of(encode_json(_decisive(config)))


def _decisive(config: RunConfig) -> dict[str, Any]:
    return config.model_dump(exclude=_FREE_TO_CHANGE, exclude_unset=True)


def _difference(before: dict[str, Any], now: dict[str, Any], path: str = "") -> str:
    """The first key that differs, with both values."""
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict) and old != new:
            return _difference(old, new, f"{path}{key}.")
        if old != new:
            return f"{path}{key} was {json.dumps(old)}, is {json.dumps(new)}"
    return "made by another version"


def _restore(tensors: dict[str, Tensor], policy: Policy, optimizer: Optimizer) -> None:
    policy.load_adapter(
        {n.removeprefix("adapter."): t for n, t in tensors.items() if n.startswith("adapter.")}
    )
    for name, parameter in policy.parameters().items():
        moments: dict[str, Any] = {}
        for key in ("step", "exp_avg", "exp_avg_sq"):
            value = tensors.get(f"optimizer.{key}.{name}")
            if value is not None:
                # AdamW keeps its step counter on the CPU and its moments beside the parameter.
                moments[key] = value if key == "step" else value.to(parameter.device)
        if moments:
            optimizer.state[parameter] = moments


def _checkpoints(directory: Path) -> Seq[Path]:
    """Newest first, complete or not."""
    found = [p for p in directory.glob("checkpoint-*") if p.name.removeprefix("checkpoint-").isdecimal()]
    return sorted(found, key=lambda p: -int(p.name.removeprefix("checkpoint-")))


def _read(checkpoint: Path) -> dict[str, bytes] | None:
    try:
        manifest = read_manifest(checkpoint)
        if manifest is None:
            return None
        return {name: read_verified(checkpoint, name, manifest["files"][name]) for name in (STATE, TENSORS)}
    except TornError:
        return None
