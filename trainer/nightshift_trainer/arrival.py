"""Waiting for a batch that comes soon, late, in pieces or never. No torch here."""

import time
from collections.abc import Callable
from pathlib import Path

from nightshift_trainer.batch import read_batch
from nightshift_trainer.errors import DatasetError, DeadlineError
from nightshift_trainer.handover import TornError, read_manifest
from nightshift_trainer.types import Batch

NO_MANIFEST = "no whole manifest"


def await_batch(
    run_directory: Path,
    iteration: int,
    deadline_s: float,
    pause: Callable[[str], None],
    now: Callable[[], float] = time.monotonic,
) -> Batch:
    """Batch `iteration`, as soon as it is whole. `pause` runs between looks and gets what is not there yet.

    Raises DeadlineError when no manifest came in time, which another start may mend; DatasetError when one came that
    was not kept: at once for a wrong byte, at the deadline for files that are missing or too short, because whoever
    copies a batch by hand may bring its manifest first.
    """
    deadline = now() + deadline_s
    while True:
        late = now() >= deadline  # asked before the look, so that what arrived in time is always seen
        lacks = lacking(run_directory, iteration)
        if lacks is None and (batch := read_batch(run_directory, iteration)) is not None:
            return batch
        if late and lacks in (None, NO_MANIFEST):
            raise DeadlineError(f"no batch-{iteration} with a whole manifest within {deadline_s:g} s")
        if late:
            raise DatasetError(f"{lacks}, and no more came within {deadline_s:g} s")
        pause(lacks or NO_MANIFEST)


def lacking(run_directory: Path, iteration: int) -> str | None:
    """`NO_MANIFEST`, or the first file that the manifest names and that is not there in its whole length; None when
    the batch can be read."""
    directory = run_directory / f"batch-{iteration}"
    try:
        manifest = read_manifest(directory)
    except TornError:
        manifest = None
    if manifest is None:
        return NO_MANIFEST
    files = manifest.get("files")
    for name, entry in files.items() if isinstance(files, dict) else ():
        wanted = entry.get("bytes") if isinstance(entry, dict) else None
        found = _size(directory / name)
        if isinstance(wanted, int) and found < wanted:
            return f"{directory.name}/{name} has {found} of the {wanted} bytes that its manifest says"
    return None


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
