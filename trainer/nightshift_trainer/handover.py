"""Directories that appear whole or not at all: files, then the manifest with their digests, last.

A reader trusts only the manifest: without one the directory does not exist, and every file must match its digest.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nightshift_trainer.errors import DiskError

MANIFEST = "manifest.json"
_ASIDE = re.compile(
    r"\.((adapter|checkpoint)-\d+|status\.json|metrics\.jsonl|base-digests\.json|run\.(svg|png))\.\d+"
)


class TornError(Exception):
    """A manifest is there, but it is not JSON or a file does not match it."""


def digest_of(content: bytes) -> str:
    """`sha256:` and 64 hex digits, as everywhere in Nightshift."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def encode_json(value: object) -> bytes:
    """One spelling per value: sorted keys, no spaces, a final newline. NaN and infinities are refused."""
    return (json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n").encode()


def write_atomically(path: Path, content: bytes, *, shown: str | None = None) -> None:
    """Writes aside, flushes to the disk, renames over `path`. Raises DiskError, with nothing left aside, which speaks
    of `shown`."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with writing(shown or path.name, len(content), path.parent):
        try:
            with aside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.rename(path)
        except OSError:
            with suppress(OSError):
                aside.unlink()
            raise


@contextmanager
def writing(name: str, size: int, directory: Path) -> Iterator[None]:
    """Turns what a disk refuses into a DiskError: which file, how much it needs, how much there is."""
    try:
        yield
    except OSError as error:
        try:
            room = f"{shutil.disk_usage(directory).free:,} bytes are free on its disk"
        except OSError as unreadable:
            room = f"its disk cannot be read: {unreadable.strerror}"
        raise DiskError(f"{name} ({size:,} bytes) cannot be written: {error.strerror}; {room}") from error


def publish(directory: Path, files: Mapping[str, bytes], fields: Mapping[str, Any]) -> str:
    """Makes `directory` from `files` and returns the digest of its manifest (`fields` and the file table).

    What is already published stays as it is; what a crash left without a manifest is replaced. Raises DiskError: then
    there is no manifest, and the space that was taken is given back.
    """
    manifest = directory / MANIFEST
    if not manifest.exists():
        aside = directory.with_name(f".{directory.name}.{os.getpid()}")
        for leftover in (directory, *directory.parent.glob(f".{directory.name}.*")):
            shutil.rmtree(leftover, ignore_errors=True)
        table = {
            name: {"sha256": digest_of(content), "bytes": len(content)} for name, content in files.items()
        }
        try:
            _write_all(aside, directory, files)
            write_atomically(
                manifest, encode_json({**fields, "files": table}), shown=f"{directory.name}/{MANIFEST}"
            )
        except DiskError:
            for half in (aside, directory):
                shutil.rmtree(half, ignore_errors=True)
            raise
    return digest_of(manifest.read_bytes())


def sweep(run_directory: Path) -> None:
    """Takes away what killed trainers were writing aside. Only for who holds the lock of the run directory."""
    for left in run_directory.iterdir():
        if not _ASIDE.fullmatch(left.name):
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """The manifest as JSON; None when there is none. Raises TornError. The files are not looked at yet."""
    try:
        text = (directory / MANIFEST).read_bytes()
    except FileNotFoundError:
        return None
    try:
        manifest = json.loads(text)
    except ValueError as error:
        raise TornError(f"{directory.name}/{MANIFEST} is not JSON: {error}") from error
    if not isinstance(manifest, dict):
        raise TornError(f"{directory.name}/{MANIFEST} is not an object")
    return manifest


def read_verified(directory: Path, name: str, entry: Mapping[str, Any]) -> bytes:
    """A file's bytes, checked against its manifest entry. Raises TornError."""
    try:
        content = (directory / name).read_bytes()
    except OSError as error:
        raise TornError(f"{directory.name}/{name} cannot be read: {error.strerror}") from error
    if digest_of(content) != entry["sha256"]:
        raise TornError(f"{directory.name}/{name} does not match the digest in its manifest")
    return content


def _write_all(aside: Path, directory: Path, files: Mapping[str, bytes]) -> None:
    with writing(f"{directory.name}/", sum(map(len, files.values())), directory.parent):
        aside.mkdir()
        for name, content in files.items():
            write_atomically(aside / name, content, shown=f"{directory.name}/{name}")
        aside.rename(directory)
