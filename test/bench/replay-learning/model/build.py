"""Makes the starting policy of a world from nothing: `python build.py --world bookings --out DIRECTORY`.

Some minutes on one core. As the quickstart's model is made, with its tokenizer and loop
(deploy/quickstart/model/build); these worlds have no numbers to compare, so that a smaller model and fewer steps
do. The directory appears when it is whole.
"""

import argparse
import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[4]
SHOP = ROOT / "deploy" / "quickstart" / "model"
sys.path.insert(0, str(SHOP / "build"))

from prompt import NODE, Lessons  # noqa: E402 -- found by the line above
from tokenizer import write_tokenizer  # noqa: E402
from train import Phase, Size, create_model, save, train  # noqa: E402

SEED = 7
SIZE = Size(hidden=96, intermediate=288, layers=3, heads=3, key_value_heads=1)
PHASES = (
    Phase(
        "copy", "clean", False, 450, 11, (1.5e-3, 1e-3), context_weight=0.1, item_weight=1, decision_weight=1
    ),
    Phase(
        "prompt", "clean", True, 150, 14, (1e-3, 3e-4), context_weight=0.02, item_weight=1, decision_weight=5
    ),
    Phase(
        "mistakes",
        "noisy",
        True,
        350,
        13,
        (6e-4, 2e-5),
        context_weight=0.02,
        item_weight=1,
        decision_weight=3,
    ),
)


def ask(world: str, *more: str) -> list[Any]:
    """Lines of JSON about a world."""
    command = [NODE, Path(__file__).with_name("lessons.ts"), "--world", world, *more]
    shown = subprocess.run(command, check=True, capture_output=True, text=True)
    return [json.loads(line) for line in shown.stdout.splitlines()]


def demonstrations(world: str, seed: int, count: int, noise: str) -> list[dict[str, Any]]:
    return ask(world, "--seed", str(seed), "--count", str(count), "--noise", noise)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--world", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scale", type=float, default=1, help="of the steps of every phase, for a try")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    [[prompt, tools]] = ask(arguments.world)
    lessons = Lessons(prompt, tools, [], partial(demonstrations, arguments.world))
    aside = arguments.out.with_name(arguments.out.name + ".aside")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    log = aside / "train.log"
    shutil.copy(SHOP / "chat_template.jinja", aside)
    tokenizer = write_tokenizer(aside, lessons)
    model = create_model(tokenizer, SIZE)
    for phase in PHASES:
        steps = round(phase.steps * arguments.scale)
        train(model, tokenizer, Phase(**{**vars(phase), "steps": steps}), lessons, log)
        print(f"{arguments.world}: {phase.name}, {steps} steps done", flush=True)
    save(model, tokenizer, aside)
    aside.rename(arguments.out)


if __name__ == "__main__":
    main()
