"""The memory allocator of a training process.

A step takes and frees activations of tens of MiB by the thousand. glibc keeps the gaps between them: a step whose
tensors never exceed 0.65 GB held 3 GB. jemalloc reuses them, on huge pages and without handing them back in between,
which also spares the kernel's work of giving them out again. It has to be there before anything is allocated, so the
process starts itself anew, under the same pid.
"""

import os
import sys
from ctypes.util import find_library

NAME = "jemalloc"
SETTINGS = "thp:always,dirty_decay_ms:-1,muzzy_decay_ms:-1"


def prefer_jemalloc() -> None:
    """Replaces this process by itself on jemalloc where that is installed; who sets LD_PRELOAD chooses otherwise."""
    if sys.platform != "linux" or "LD_PRELOAD" in os.environ:
        return
    # Asked of the linker: to load it here fails, its thread-local storage has to be there from the start.
    library = find_library(NAME)
    if library is None:
        return
    environment = {"MALLOC_CONF": SETTINGS, **os.environ, "LD_PRELOAD": library}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
