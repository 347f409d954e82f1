"""Cosine and relative distance of two sides' gradients: `python gradients.py A B` prints them as JSON."""

import json
import sys

import torch
from safetensors.torch import load_file

a, b = (load_file(path) for path in sys.argv[1:3])
if a.keys() != b.keys():
    raise SystemExit(f"the sides train other parameters: {sorted(a.keys() ^ b.keys())[:3]}")
x, y = (torch.cat([side[name].flatten().double() for name in sorted(a)]) for side in (a, b))
print(
    json.dumps({"cosine": float(x @ y / (x.norm() * y.norm())), "relative": float((x - y).norm() / y.norm())})
)
