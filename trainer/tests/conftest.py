import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.run_files import run_json, tiny_model


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen3 of 25 thousand parameters."""
    path = tmp_path_factory.mktemp("base")
    tiny_model().save_pretrained(path)
    return path


@pytest.fixture
def make_run(tmp_path: Path, base_path: Path) -> Callable[..., Path]:
    """Writes a run directory; keyword arguments replace keys of run.json, dotted by double underscore."""

    def make(name: str = "run", **changes: Any) -> Path:
        run = run_json(base_path)
        for key, value in changes.items():
            *parents, last = key.split("__")
            place = run
            for parent in parents:
                place = place[parent]
            place[last] = value
        directory = tmp_path / name
        directory.mkdir()
        (directory / "run.json").write_text(json.dumps(run))
        return directory

    return make
