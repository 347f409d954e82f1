"""Steps one side through one workload in a process of its own; prints `{"seconds": [...], "peak_bytes": n, ...}`.

`python side.py nightshift|padded|trl WORKLOAD_JSON WARMUP STEPS THREADS GRADIENTS_FILE`. `padded` is our own step
without packing. The gradients of the first step go to the file. Our sides run on the allocator that `train` runs on.
"""

import importlib
import json
import os
import resource
import sys

import torch
from safetensors.torch import save_file
from workload import Workload

from nightshift_trainer.allocator import prefer_jemalloc

if sys.argv[1] != "trl":
    prefer_jemalloc()

side, work, warmup, steps, threads, gradients = sys.argv[1:7]
torch.set_num_threads(int(threads))
module = importlib.import_module("trl_side" if side == "trl" else "ours")
seconds, first, extra = module.steps_of(Workload(**json.loads(work)), int(warmup) + int(steps), side)
save_file(first, gradients)
peak = (
    torch.cuda.max_memory_allocated()
    if torch.cuda.is_available()
    else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
)
preloaded = os.environ.get("LD_PRELOAD")
print(json.dumps({"seconds": seconds[int(warmup) :], "peak_bytes": peak, "preloaded": preloaded, **extra}))
