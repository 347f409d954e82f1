"""How a run went, in one object for programs and in one table for people. No torch here."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nightshift_trainer.config import RunConfig
from nightshift_trainer.errors import EXIT_TERMINATED, RunError
from nightshift_trainer.handover import MANIFEST, digest_of
from nightshift_trainer.status import METRICS, read_rows

Result = dict[str, Any]


def summarise(directory: Path, config: RunConfig, outcome: str, steps: int, seconds: float) -> Result:
    """Of a run that ended well. `seconds` are of this start, the rest is of the whole run, over all its starts."""
    return {
        "run_id": config.run_id,
        "outcome": outcome,
        "exit_code": 0,
        "steps": steps,
        "seconds": round(seconds, 3),
        **_speed(directory / METRICS),
        "sabotage": config.sabotage,
        "adapters": [_adapter(directory / f"adapter-{k}", k) for k in range(1, config.iterations + 1)],
    }


def failed(error: RunError) -> Result:
    """Of a run that did not."""
    outcome = "interrupted" if error.exit_code == EXIT_TERMINATED else "failed"
    return {"outcome": outcome, "exit_code": error.exit_code, "reason": str(error)}


def table(result: Mapping[str, Any]) -> str:
    """The result of `summarise`, a line per iteration."""
    head = ["iteration", "steps", "reward", "kept", "dropped", "adapter", "directory"]
    rows = [head, *(_cells(adapter) for adapter in result["adapters"])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    rate = result["logical_tokens_per_s"]
    speed = "" if rate is None else f", {result['step_seconds']:.1f} s in steps at {rate:,.0f} tokens/s"
    return "\n".join(
        [
            f"{result['outcome'].replace('_', ' ')}: {result['steps']} steps, {result['seconds']:.1f} s{speed}",
            *(line.rstrip() for line in lines),
        ]
    )


def _cells(adapter: Mapping[str, Any]) -> list[str]:
    metrics = adapter["metrics"]
    reward = metrics["reward_mean"]
    dropped = ", ".join(f"{count} {reason}" for reason, count in sorted(metrics["groups_dropped"].items()))
    return [
        str(adapter["iteration"]),
        str(metrics["steps"]),
        "-" if reward is None else f"{reward:.3f}",
        f"{metrics['groups_kept']} groups",
        dropped or "none",
        adapter["digest"].removeprefix("sha256:")[:12],
        _short(adapter["path"]),
    ]


def _adapter(directory: Path, iteration: int) -> Result:
    manifest = (directory / MANIFEST).read_bytes()
    return {
        "iteration": iteration,
        "digest": digest_of(manifest),
        "path": str(directory),
        "metrics": json.loads(manifest)["metrics"],
    }


def _speed(metrics: Path) -> Result:
    rows = read_rows(metrics) if metrics.exists() else []
    steps = [row for row in rows if row.get("type") == "step" and row.get("seconds")]
    seconds = math.fsum(row["seconds"] for row in steps)
    rates = {
        f"{kind}_tokens_per_s": _rate(sum(row[f"{kind}_tokens"] for row in steps), seconds)
        for kind in ("logical", "physical")
    }
    return {"step_seconds": round(seconds, 3), **rates}


def _rate(tokens: int, seconds: float) -> float | None:
    return round(tokens / seconds, 1) if seconds else None


def _short(path: str) -> str:
    return min(path, os.path.relpath(path), key=len)
