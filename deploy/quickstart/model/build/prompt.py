"""The production prompt, read from the agent's own source of truth (`deploy/quickstart/tools.ts`)."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

QUICKSTART = Path(__file__).resolve().parents[2]
MODEL = QUICKSTART / "model"
NODE = QUICKSTART.parents[1] / "node_modules" / ".bin" / "node"


@dataclass(frozen=True)
class Lessons:
    """What a model is made from: the prompt and tools that it will be served with, the words of one token that it has
    to copy, and `demonstrations(seed, count, noise)`."""

    prompt: str
    tools: list[dict[str, Any]]
    copied: list[str]
    demonstrations: Callable[[int, int, str], list[dict[str, Any]]]


def shop_lessons() -> Lessons:
    """The quickstart's."""
    return Lessons(*production_prompt(), items(), demonstrations)


@cache
def production_prompt() -> tuple[str, list[dict[str, Any]]]:
    """The agent's system prompt and its tool definitions."""
    prompt, tools = _ask(
        "import('./tools.ts').then((m) => console.log(JSON.stringify([m.systemPrompt, m.tools])))"
    )
    return prompt, tools


def items() -> list[str]:
    """What the shop sells; each name is one token."""
    return _ask("import('./catalog.ts').then((m) => console.log(JSON.stringify(m.items)))")


def _ask(script: str) -> Any:
    shown = subprocess.run(
        [NODE, "--input-type=module", "-e", script],
        cwd=QUICKSTART,
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(shown.stdout)


def demonstrations(seed: int, count: int, noise: str) -> list[dict[str, Any]]:
    """`count` conversations of the scripted agent, `noise` is `clean` or `noisy`; see demonstrations.ts."""
    script = QUICKSTART / "demonstrations.ts"
    shown = subprocess.run(
        [NODE, script, "--seed", str(seed), "--count", str(count), "--noise", noise],
        check=True,
        capture_output=True,
        text=True,
    )
    return [json.loads(line) for line in shown.stdout.splitlines()]
