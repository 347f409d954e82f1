"""What ends a run, and with which exit code. Every other exception is a crash that a restart may mend."""

from collections.abc import Iterator
from contextlib import contextmanager

EXIT_CONFIG = 64
"""The run's configuration is wrong: no restart can mend it."""
EXIT_DATASET = 65
"""A batch is wrong: no restart can mend it."""
EXIT_RETRY = 75
"""Nothing is wrong with the inputs; the same command may succeed later."""
EXIT_TERMINATED = 143
"""Stopped by SIGTERM or by the end of the parent, after a checkpoint: starting again goes on from there."""


class RunError(Exception):
    """Ends the run with `exit_code`; the message is for the operator."""

    exit_code = EXIT_RETRY


class ConfigError(RunError):
    """run.json, the base model or the adapter to start from cannot be used."""

    exit_code = EXIT_CONFIG


class DatasetError(RunError):
    """A batch cannot be trained on; the message names file and line."""

    exit_code = EXIT_DATASET


@contextmanager
def named(source: str) -> Iterator[None]:
    """Puts the batch's file before what is wrong with the batch as a whole."""
    try:
        yield
    except DatasetError as error:
        raise DatasetError(f"{source}: {error}") from error


class InterruptError(RunError):
    """SIGTERM arrived, or the parent is gone."""

    exit_code = EXIT_TERMINATED


class DeadlineError(RunError):
    """The next batch did not come in time."""


class DiskError(RunError):
    """A file of the run directory cannot be written: the disk is full, read-only or gone."""


class OutOfMemoryError(RunError):
    """A micro-batch of `rows` rows did not fit; the largest had `largest_tokens` physical tokens."""

    def __init__(self, rows: int, largest_tokens: int, cause: Exception) -> None:
        super().__init__(
            f"a micro-batch of {rows} rows and {largest_tokens} tokens does not fit into memory: turn "
            f"gradient_checkpointing on, or give the job more memory ({str(cause).splitlines()[0]})"
        )
        self.rows, self.largest_tokens = rows, largest_tokens


class LockedError(RunError):
    """Another trainer owns the run directory."""
