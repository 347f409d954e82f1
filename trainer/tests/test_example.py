"""The committed example is what `README.md` says it is."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from nightshift_trainer.batch import read_batch

TRAINER = Path(__file__).parent.parent
EXAMPLE = TRAINER / "example"


def test_the_example_trains_as_the_readme_says(tmp_path: Path) -> None:
    run = tmp_path / "example"
    shutil.copytree(
        EXAMPLE, run, ignore=shutil.ignore_patterns("adapter-*", "checkpoint-*", "*.jsonl", "status.json")
    )
    config = json.loads((run / "run.json").read_text())
    config["base_model"]["path"] = str(EXAMPLE / config["base_model"]["path"])
    (run / "run.json").write_text(json.dumps(config))
    arguments = [sys.executable, "-m", "nightshift_trainer", "train", str(run), "--json"]
    ended = subprocess.run(arguments, cwd=TRAINER, capture_output=True, text=True, check=True)
    summary = json.loads(ended.stdout.splitlines()[-1])
    (adapter,) = summary["adapters"]
    metrics = adapter["metrics"]
    assert (summary["outcome"], summary["steps"]) == ("completed", 2)
    assert (metrics["groups_kept"], metrics["groups_dropped"]) == (4, {"zero_variance": 2})
    # The example was sampled from this very model, and its groups share what they can at every turn.
    assert metrics["logprob_mean_abs_delta"] < 1e-5
    assert metrics["physical_tokens"] < 0.5 * metrics["logical_tokens"]
    assert (run / "adapter-1" / "adapter_model.safetensors").exists()


def test_its_conversations_take_several_calls() -> None:
    batch = read_batch(EXAMPLE, 1)
    assert batch is not None
    assert len(batch.groups) == 6
    assert max(len(member.calls) for group in batch.groups for member in group.members) >= 4
