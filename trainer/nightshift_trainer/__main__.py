"""`python -m nightshift_trainer`: train a run, or serve a model."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

COMMANDS = {
    "train": ("nightshift_trainer.process", "train the adapter of one run directory"),
    "serve": ("nightshift_trainer.serve.main", "embedded policy server for quickstart and tests"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Imports only the command that was asked for, so that `--help` and a bad run.json answer at once."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="nightshift_trainer", description="GRPO on LoRA adapters")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = arguments[0] if arguments else ""
    for name, (module, what) in COMMANDS.items():
        command = commands.add_parser(name, help=what)
        if name == chosen:
            import_module(module).add_arguments(command)
    return import_module(COMMANDS[chosen][0]).run(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
