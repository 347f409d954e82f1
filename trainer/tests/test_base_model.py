"""Which base a directory holds: the digest is the control plane's, over what decides the answers."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nightshift_trainer.base_model import CACHE, base_digest
from nightshift_trainer.file_digests import FileDigests
from tests.run_files import rewarded_tokens, sampled_groups, tiny_model, write_batch
from tests.trainer_process import finish, start

QUICKSTART = Path(__file__).parents[2] / "deploy/quickstart/model"


def test_by_hand(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"{}")
    (tmp_path / "modèle.safetensors").write_bytes(b"w")
    config, weights = (hashlib.sha256(x).hexdigest() for x in (b"{}", b"w"))
    text = f'{{"config.json":"sha256:{config}","modèle.safetensors":"sha256:{weights}"}}'
    assert base_digest(tmp_path) == "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    before = base_digest(tmp_path)
    (tmp_path / "README.md").write_text("no part of it")
    (tmp_path / "pytorch_model.bin").write_bytes(b"another format")
    assert base_digest(tmp_path) == before


def test_every_part_decides(tmp_path: Path) -> None:
    shutil.copytree(QUICKSTART, tmp_path / "model")
    parts = ["chat_template.jinja", "config.json", "generation_config.json", "model.safetensors"]
    parts += ["tokenizer.json", "tokenizer_config.json"]
    seen = {base_digest(tmp_path / "model")}
    for part in parts:
        with (tmp_path / "model" / part).open("ab") as file:
            file.write(b" ")
        seen.add(base_digest(tmp_path / "model"))
    assert len(seen) == len(parts) + 1


def later() -> int:
    """A clock by which files that were just written are at rest."""
    return time.time_ns() + 10 * 10**9


def hashed(
    directory: Path,
    cache: Path,
    now_ns: Callable[[], int] = later,
    meanwhile: Callable[[], None] = lambda: None,
) -> tuple[str, int]:
    """(digest, files that were read for it): each of these files is one chunk."""
    reads: list[None] = []

    def beat() -> None:
        reads.append(None)
        meanwhile()

    return base_digest(directory, beat, FileDigests(cache, now_ns)), len(reads)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "config.json").write_bytes(b"{}")
    (directory / "model.safetensors").write_bytes(b"one")
    return directory


def test_files_that_did_not_change_are_read_once(model: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache.json"
    first = base_digest(model)
    assert hashed(model, cache) == (first, 2)
    assert hashed(model, cache) == (first, 0)
    assert sorted(p.name for p in model.iterdir()) == ["config.json", "model.safetensors"]
    # Another model in the same cache leaves what is known of the first.
    shutil.copytree(model, tmp_path / "other")
    assert hashed(tmp_path / "other", cache) == (first, 2)
    assert hashed(model, cache) == (first, 0)


def overwritten(file: Path) -> None:
    """In place, of the same size, its times put back, as `rsync --inplace --times` does it. Again until the file
    system's clock has ticked: the clock of these tests is ahead of it."""
    stat = os.stat(file)
    while os.stat(file).st_ctime_ns == stat.st_ctime_ns:
        file.write_bytes(b"two")
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def replaced(file: Path) -> None:
    stat = os.stat(file)
    other = file.with_name("download")
    other.write_bytes(b"two")
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.rename(file)


@pytest.mark.parametrize("change", [overwritten, replaced], ids=["overwritten", "replaced"])
def test_nothing_is_trusted_across_a_change(
    model: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    cache = tmp_path / "cache.json"
    first, _ = hashed(model, cache)
    change(model / "model.safetensors")
    assert hashed(model, cache) == (base_digest(model), 1)
    assert base_digest(model) != first


def test_a_file_that_may_still_change_under_its_stamp_is_not_known(model: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache.json"
    newest = max(os.stat(p).st_ctime_ns for p in model.iterdir())
    for _ in range(2):
        assert hashed(model, cache, lambda: newest + 10**9)[1] == 2
    assert not cache.exists()
    # Written to while it is read: what was read is no file's digest.
    weights = model / "model.safetensors"

    pieces = iter(["the config", "the weights"])

    def grow() -> None:
        if next(pieces, None) == "the weights":
            with weights.open("ab") as file:
                file.write(b"x")

    hashed(model, cache, meanwhile=grow)
    assert hashed(model, cache) == (base_digest(model), 1)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": 1}', b'{"a": {"size": 3}}', b"\xff{"])
def test_a_cache_that_is_none_costs_the_hashing(model: Path, tmp_path: Path, content: bytes) -> None:
    cache = tmp_path / "cache.json"
    cache.write_bytes(content)
    assert hashed(model, cache) == (base_digest(model), 2)
    assert hashed(model, cache)[1] == 0
    # Where none can be written, nothing is said: it is an extra.
    for _ in range(2):
        assert hashed(model, cache / "below a file" / "cache.json") == (base_digest(model), 2)


def test_runs_may_share_what_they_know(
    make_run: Callable[..., Path], base_path: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "made" / "cache"
    assert hashed(base_path, cache / CACHE)[1] > 0
    known = json.loads((cache / CACHE).read_text())
    weights = str(base_path / "model.safetensors")
    known[weights]["sha256"] = "sha256:" + "0" * 64
    (cache / CACHE).write_text(json.dumps(known))
    run = make_run()
    write_batch(run, 1, sampled_groups(tiny_model(), rewarded_tokens))
    # It takes the cache at its word, and so refuses a base that is right.
    assert finish(start(run, cache=cache)) == 64
    assert "base_model.digest: " in (run / "stderr").read_text()
    assert finish(start(run)) == 0
