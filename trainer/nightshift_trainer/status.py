"""What the outside sees of a run: status.json, replaced whole, and metrics.jsonl, appended. No torch here."""

import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nightshift_trainer.config import RunConfig
from nightshift_trainer.handover import encode_json, write_atomically, writing

STATUS = "status.json"
METRICS = "metrics.jsonl"


class Status:
    """The run's status file. Beats come from the main loop only, so that a stuck trainer looks stuck.

    Writing raises DiskError: a run that nobody can see is ended by its watcher anyhow, with less to read.
    """

    def __init__(self, directory: Path, config: RunConfig) -> None:
        self._file = directory / STATUS
        self._interval_s = config.heartbeat_interval_s
        self._written = 0.0
        self._fields: dict[str, Any] = {
            "version": 1,
            "run_id": config.run_id,
            "pid": os.getpid(),
            "phase": "loading",
            "iteration": 0,
            "iterations": config.iterations,
            "objective": None,
            "step": 0,
            "resumed_from": None,
            "metrics": METRICS,
            "sabotage": config.sabotage,
            "outcome": None,
        }
        self.update()

    def update(self, **fields: Any) -> None:
        """Changes fields (phase, iteration, objective, step, resumed_from) and writes at once."""
        self._fields.update(fields)
        self._written = time.monotonic()
        heartbeat = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        write_atomically(self._file, encode_json({**self._fields, "heartbeat": heartbeat}))

    def beat(self) -> None:
        """Renews the heartbeat when it is due."""
        if time.monotonic() - self._written >= self._interval_s:
            self.update()

    def finish(self, status: str, exit_code: int, reason: str | None) -> None:
        """The last word: completed, nothing_to_learn, interrupted or failed."""
        outcome = {"status": status, "exit_code": exit_code, "reason": reason}
        self.update(phase="ended", outcome=outcome)


class Metrics:
    """One JSON object per line: `type: "step"` per minibatch, `type: "iteration"` per published adapter."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / METRICS

    def append(self, row: Mapping[str, Any]) -> None:
        """Adds one row. Raises DiskError; what it leaves of the line is forgotten by `rewind`."""
        line = encode_json(row)
        with writing(METRICS, len(line), self._file.parent), self._file.open("ab") as file:
            file.write(line)

    def rewind(self, iteration: int, minibatch: int) -> None:
        """Forgets what a resumed run is about to do again (and a line that a crash cut off)."""
        if not self._file.exists():
            return
        before = (iteration, minibatch)
        kept = [
            row
            for row in read_rows(self._file)
            if (row["iteration"], row.get("minibatch", float("inf"))) < before
        ]
        write_atomically(self._file, b"".join(map(encode_json, kept)))


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The whole rows of a metrics.jsonl, in order. What is none, such as a line that a crash cut off, is left out."""
    rows = map(_parse, file.read_bytes().splitlines())
    return [row for row in rows if row is not None]


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("iteration"), int) else None
