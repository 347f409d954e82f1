"""Which base model a directory holds. No torch here.

The digest is the control plane's (`src/artifact/base-digest.ts`): one over the digests of the parts that decide the
answers. Both sides are tested on the quickstart's model.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

from nightshift_trainer.errors import ConfigError
from nightshift_trainer.file_digests import FileDigests
from nightshift_trainer.handover import digest_of

PART = re.compile(
    r"(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template)\.json"
    r"|tokenizer\.model|merges\.txt|chat_template\.jinja|.*\.safetensors(\.index\.json)?"
)
CACHE = "base-digests.json"


def base_digest(
    directory: Path, beat: Callable[[], None] = lambda: None, digests: FileDigests | None = None
) -> str:
    """Reads every weight that `digests` does not know; `beat` runs all the while. Raises OSError."""
    digests = digests or FileDigests(None)
    parts = {
        file.name: digests.of(file, beat) for file in sorted(directory.iterdir()) if PART.fullmatch(file.name)
    }
    digests.keep()
    return digest_of(json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


def require_base(directory: Path, expected: str, beat: Callable[[], None], cache: Path) -> None:
    """Raises ConfigError when the directory holds another base model than run.json names. What was hashed is kept in
    the directory `cache`."""
    try:
        found = base_digest(directory, beat, FileDigests(cache / CACHE))
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise ConfigError(
            f"base_model.path: {directory} is not a model that can be read: {error.strerror}"
        ) from error
    if found != expected:
        raise ConfigError(f"base_model.digest: {directory} is {found}, run.json says {expected}")
