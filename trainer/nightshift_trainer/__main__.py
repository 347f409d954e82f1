"""`python -m nightshift_trainer`: train a run, draw how it went, or serve a model."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from nightshift_trainer import __version__
from nightshift_trainer.allocator import prefer_jemalloc
from nightshift_trainer.errors import EXIT_CONFIG

COMMANDS = {
    "train": ("nightshift_trainer.process", "train the adapter of one run directory"),
    "plot": ("nightshift_trainer.plot", "draw a run: reward, drift, entropy, gradients, speed"),
    "serve": ("nightshift_trainer.serve.main", "embedded policy server for quickstart and tests"),
}
EPILOG = """\
examples:
  nightshift_trainer train example       train the run directory `example`
  nightshift_trainer plot example        draw it, also while it runs
  nightshift_trainer train --help        options and exit codes of a command

exit codes: 0 done, 64 bad command line; `train --help` lists those of a run
"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in the last line, where to read on in the one before, and exits as a bad run.json does."""

    def error(self, message: str) -> NoReturn:
        """Ends the program."""
        self.print_usage(sys.stderr)
        self.exit(EXIT_CONFIG, f"`{self.prog} --help` describes every option\nerror: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Imports only the command that was asked for, so that `--help` and a bad run.json answer at once."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = Parser(
        prog="nightshift_trainer",
        description="Updates LoRA adapters from scored rollouts, by GRPO.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nightshift_trainer {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = arguments[0] if arguments else ""
    for name, (module, what) in COMMANDS.items():
        command = commands.add_parser(name, help=what)
        if name == chosen:
            import_module(module).add_arguments(command)
    parsed = parser.parse_args(arguments)
    return import_module(COMMANDS[chosen][0]).run(parsed)


if __name__ == "__main__":
    if sys.argv[1:2] == ["train"]:
        prefer_jemalloc()
    sys.exit(main())
