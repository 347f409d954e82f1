"""Whether a training process starts itself anew on jemalloc, in processes that really do."""

import json
import os
import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path

import pytest

from nightshift_trainer.allocator import SETTINGS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD is Linux's")

TRAINER = Path(__file__).parents[1]
PROCESS = """
import json, os, sys
from nightshift_trainer import allocator
allocator.NAME = sys.argv[1]
began = os.environ.setdefault("BEGAN", str(os.getpid()))
allocator.prefer_jemalloc()
maps = open("/proc/self/maps").read()
said = {name: os.environ.get(name) for name in ("LD_PRELOAD", "MALLOC_CONF")}
print(json.dumps({**said, "same": began == str(os.getpid()), "argv": sys.argv[1:], "maps": maps}))
"""
# Any library that Python itself does not load stands in for jemalloc, which not every machine has.
STAND_IN, FILE = "rt", "librt.so.1"


def begin(name: str, **environment: str) -> dict[str, str]:
    clean = {
        key: value for key, value in os.environ.items() if key not in ("LD_PRELOAD", "MALLOC_CONF", "BEGAN")
    }
    command = [sys.executable, "-c", PROCESS, name, "with spaces"]
    done = subprocess.run(
        command, env={**clean, **environment}, cwd=TRAINER, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_the_same_process_begins_anew_on_it() -> None:
    said = begin(STAND_IN)
    assert (said["LD_PRELOAD"], said["MALLOC_CONF"]) == (FILE, SETTINGS)
    assert said["same"]
    assert said["argv"] == [STAND_IN, "with spaces"]
    assert FILE in said["maps"]


def test_a_preload_of_ones_own_stands() -> None:
    said = begin(STAND_IN, LD_PRELOAD="libdl.so.2")
    assert (said["LD_PRELOAD"], said["MALLOC_CONF"]) == ("libdl.so.2", None)


def test_own_settings_of_it_stand() -> None:
    assert begin(STAND_IN, MALLOC_CONF="narenas:1")["MALLOC_CONF"] == "narenas:1"


def test_without_it_all_goes_on() -> None:
    said = begin("there-is-no-such-allocator")
    assert (said["LD_PRELOAD"], said["MALLOC_CONF"]) == (None, None)


@pytest.mark.skipif(find_library("jemalloc") is None, reason="jemalloc is not installed")
def test_jemalloc_itself() -> None:
    said = begin("jemalloc")
    assert said["LD_PRELOAD"] == "libjemalloc.so.2"
    assert "libjemalloc.so.2" in said["maps"]
