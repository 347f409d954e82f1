"""The command line: what is refused and how, what is said while it works, what comes out."""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nightshift_trainer.__main__ import main
from nightshift_trainer.console import Console
from nightshift_trainer.summary import table
from tests.run_files import sampled_groups, tiny_model, write_batch

MakeRun = Callable[..., Path]
PACKAGE = Path(__file__).parents[1]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str]:
    """(exit code, last line)."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code, capsys.readouterr().err.splitlines()[-1]


def test_a_wrong_command_line_exits_as_a_wrong_run_json_does(capsys: pytest.CaptureFixture[str]) -> None:
    code, line = refused(capsys, "trian", "run")
    assert code == 64
    assert line.startswith("error: argument COMMAND: invalid choice: 'trian' (choose from")
    assert refused(capsys) == (64, "error: the following arguments are required: COMMAND")
    assert refused(capsys, "train") == (64, "error: the following arguments are required: RUN")
    assert refused(capsys, "plot", "r", "--fast") == (64, "error: unrecognized arguments: --fast")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], ["train", "plot", "serve", "examples:", "exit codes:"]),
        (["train", "--help"], ["--json", "--lock-wait S", "examples:", "64 ", "65 ", "143 "]),
        (["plot", "--help"], ["--out FILE", "examples:", "matplotlib"]),
    ],
)
def test_help_describes_options_examples_and_exit_codes(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert [word for word in words if word not in text] == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "written"),
    [
        (io.StringIO(), "a\n30 s\n40 s\nb\n"),
        (Terminal(), "a\n\r\x1b[K25 s\r\x1b[K30 s\r\x1b[K35 s\r\x1b[K40 s\r\x1b[K45 s\r\x1b[Kb\n"),
    ],
)
def test_progress_is_rare_in_a_log_and_in_place_on_a_terminal(stream: io.StringIO, written: str) -> None:
    """Something is said at 20 s; from then on the work tells every 5 s how far it is."""
    clock = [20]
    console = Console(stream, lambda: clock[0])
    console.say("a")
    for clock[0] in range(25, 50, 5):
        console.pace(f"{clock[0]} s")
    console.say("b")
    assert stream.getvalue() == written


def test_short_work_says_nothing_of_its_progress() -> None:
    stream = io.StringIO()
    Console(stream, lambda: 0).pace("1 %")
    assert stream.getvalue() == ""


def test_the_result_is_the_last_line_however_it_ends(make_run: MakeRun) -> None:
    run = make_run()
    write_batch(run, 1, sampled_groups(tiny_model(), lambda c: sum(token < 32 for token in c) / len(c)))
    ended = command(run, "--json")
    result = json.loads(ended.stdout.splitlines()[-1])
    rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if row["type"] == "step"]
    assert (result["outcome"], result["exit_code"], result["steps"]) == ("completed", 0, 2)
    tokens, seconds = sum(row["logical_tokens"] for row in steps), sum(row["seconds"] for row in steps)
    assert result["logical_tokens_per_s"] == pytest.approx(tokens / seconds, abs=0.1)
    (adapter,) = result["adapters"]
    assert (adapter["path"], adapter["digest"]) == (str(run / "adapter-1"), rows[-1]["adapter_digest"])
    assert table(result).splitlines()[0] in ended.stderr
    shutil.rmtree(run / "batch-1")
    other = command(run / "nowhere", "--json")
    failure = json.loads(other.stdout.splitlines()[-1])
    assert (other.returncode, failure["outcome"], failure["exit_code"]) == (64, "failed", 64)
    assert failure["reason"].endswith("cannot be read: No such file or directory")


def test_the_table_has_a_line_per_iteration() -> None:
    metrics = {"steps": 2, "reward_mean": 0.5, "groups_kept": 4, "groups_dropped": {"zero_variance": 2}}
    flat = {"steps": 0, "reward_mean": None, "groups_kept": 0, "groups_dropped": {}}
    adapters = [
        {"iteration": k, "digest": f"sha256:{k:064}", "path": f"/r/adapter-{k}", "metrics": m}
        for k, m in ((1, metrics), (2, flat))
    ]
    result = {"outcome": "completed", "steps": 2, "seconds": 7.04, "step_seconds": 2.0}
    assert table({**result, "logical_tokens_per_s": 12345.6, "adapters": adapters}).splitlines() == [
        "completed: 2 steps, 7.0 s, 2.0 s in steps at 12,346 tokens/s",
        "iteration  steps  reward  kept      dropped          adapter       directory",
        "1          2      0.500   4 groups  2 zero_variance  000000000000  /r/adapter-1",
        "2          0      -       0 groups  none             000000000000  /r/adapter-2",
    ]


def command(run: Path, *options: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "nightshift_trainer", "train", str(run), *options]
    return subprocess.run(arguments, cwd=PACKAGE, capture_output=True, text=True, check=False)
