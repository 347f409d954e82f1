"""Digests of files, taken again only of those that changed. No torch here.

A digest counts for as long as the file at its path has the same size, inode, mtime and ctime to the nanosecond. The
control plane's `src/artifact/file-digests.ts` follows the same rules.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from nightshift_trainer.errors import DiskError
from nightshift_trainer.handover import encode_json, write_atomically

CHUNK_BYTES = 2**24
TICK_NS = 2 * 10**9
"""File systems stamp changes by clocks that tick; FAT's takes two seconds. What was changed so shortly before it was
hashed may be changed once more under the same stamp, so its digest is not kept."""

_SEEN = ("size", "inode", "mtime_ns", "ctime_ns")


class FileDigests:
    """`cache` None: every file is read."""

    def __init__(self, cache: Path | None, now_ns: Callable[[], int] = time.time_ns) -> None:
        """`now_ns` is the wall clock, which stamps of files are compared with."""
        self._cache, self._now_ns = cache, now_ns
        self._before = _read(cache)
        self._fresh: dict[str, dict[str, str]] = {}

    def of(self, file: Path, beat: Callable[[], None] = lambda: None) -> str:
        """`beat` runs all the while. Raises OSError."""
        key, seen = str(file.absolute()), _seen(file)
        known = self._before.get(key)
        if known is not None and all(known[name] == seen[name] for name in _SEEN):
            return known["sha256"]
        began_ns = self._now_ns()
        digest = _digest(file, beat)
        is_at_rest = int(seen["ctime_ns"]) + TICK_NS < began_ns
        if is_at_rest and _seen(file) == seen:
            self._fresh[key] = {**seen, "sha256": digest}
        return digest

    def keep(self) -> None:
        """Writes the cache, unless nothing new is known. A disk that does not take it costs the next start the hashing
        and this one nothing."""
        if self._cache is None or not self._fresh:
            return
        with suppress(OSError, DiskError):
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._cache, encode_json({**_read(self._cache), **self._fresh}))


def _digest(file: Path, beat: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
            beat()
    return f"sha256:{digest.hexdigest()}"


def _seen(file: Path) -> dict[str, str]:
    """As texts: JSON has no integers of this size."""
    stat = os.stat(file)
    values = (stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)
    return dict(zip(_SEEN, map(str, values), strict=True))


def _read(cache: Path | None) -> dict[str, dict[str, str]]:
    """A missing or torn cache only costs the hashing."""
    if cache is None:
        return {}
    try:
        content: Any = json.loads(cache.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {key: entry for key, entry in content.items() if _is_entry(entry)}


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(name), str) for name in (*_SEEN, "sha256"))
