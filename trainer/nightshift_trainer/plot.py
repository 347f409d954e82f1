"""`nightshift_trainer plot`: metrics.jsonl as a picture. The same rows give the same bytes."""

import argparse
import io
import json
from pathlib import Path
from typing import Any

from nightshift_trainer.console import Console, emit
from nightshift_trainer.errors import ConfigError, RunError
from nightshift_trainer.handover import write_atomically
from nightshift_trainer.status import METRICS, read_rows

FORMATS = (".svg", ".png")
EPILOG = """\
examples:
  nightshift_trainer plot example                    writes example/run.svg
  nightshift_trainer plot runs/7 --out /tmp/7.png

The picture needs matplotlib, which training does not: pip install 'nightshift-trainer[plot]', or the locked
requirements.txt. Exit codes: 0 drawn, 64 nothing to draw, no matplotlib or another kind of file, 75 not written.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `plot`."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Draws what a run did, step by step and iteration by iteration. It may still be running, or have failed:\n"
        "what metrics.jsonl has is drawn."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run directory, or the path of its run.json")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the picture, .svg or .png (default: run.svg in the run directory)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Writes the picture and prints its path; returns the exit code."""
    directory = arguments.run if arguments.run.is_dir() else arguments.run.parent
    out = arguments.out or directory / "run.svg"
    try:
        write_atomically(out, _draw(directory, out.suffix), shown=str(out))
    except RunError as error:
        Console().say(f"error: {error}")
        return error.exit_code
    emit(str(out))
    return 0


def _draw(directory: Path, suffix: str) -> bytes:
    if suffix not in FORMATS:
        raise ConfigError(f"--out ends in {suffix or 'nothing'}: {' or '.join(FORMATS)} can be drawn")
    try:
        rows = read_rows(directory / METRICS)
    except OSError as error:
        raise ConfigError(f"{directory / METRICS} cannot be read: {error.strerror}") from error
    if not rows:
        raise ConfigError(f"{directory / METRICS} has no row yet")
    try:
        from nightshift_trainer.picture import draw  # noqa: PLC0415 -- matplotlib is only needed for this
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"drawing needs {error.name}: pip install 'nightshift-trainer[plot]', or the locked requirements.txt"
        ) from error
    content = io.BytesIO()
    draw(rows, _title(directory), content, suffix.removeprefix("."))
    return content.getvalue()


def _title(directory: Path) -> str:
    """Of a run.json as it is: what a run did can be drawn whatever became of its configuration."""
    try:
        config: dict[str, Any] = json.loads((directory / "run.json").read_bytes())
        title = f"run {config['run_id']} of agent {config['agent']}"
        return f"{title}, SABOTAGE {config['sabotage']}" if config.get("sabotage") else title
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return directory.resolve().name
