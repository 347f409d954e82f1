"""Trains a run while its disk is full, and again when there is space; prints what came of it as JSON."""

import json
import shutil
import sys
from pathlib import Path

from tests.trainer_process import train


def main(run: Path, free_bytes: int) -> None:
    ballast = run.parent / "ballast"
    ballast.write_bytes(b"x" * (shutil.disk_usage(run).free - free_bytes))
    full = train(run)
    said = (run / "stderr").read_text().splitlines()[-1]
    left = sorted(p.name for p in run.iterdir())
    ballast.unlink()
    again = train(run)
    adapters = {str(p.relative_to(run)): p.read_bytes().hex() for p in sorted(run.glob("adapter-*/*"))}
    print(json.dumps({"full": full, "said": said, "left": left, "again": again, "adapters": adapters}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
