"""`python -m nightshift_trainer.serve`: the server without the rest of the trainer's command line."""

import argparse

from nightshift_trainer.serve.main import add_arguments, run

parser = argparse.ArgumentParser(prog="nightshift_trainer serve")
add_arguments(parser)
raise SystemExit(run(parser.parse_args()))
