"""Which base a directory holds: the digest is the control plane's, over what decides the answers."""

import hashlib
import shutil
from pathlib import Path

from nightshift_trainer.base_model import base_digest

QUICKSTART = Path(__file__).parents[2] / "deploy/quickstart/model"


def test_by_hand(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"{}")
    (tmp_path / "modèle.safetensors").write_bytes(b"w")
    config, weights = (hashlib.sha256(x).hexdigest() for x in (b"{}", b"w"))
    text = f'{{"config.json":"sha256:{config}","modèle.safetensors":"sha256:{weights}"}}'
    assert base_digest(tmp_path) == "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    before = base_digest(tmp_path)
    (tmp_path / "README.md").write_text("no part of it")
    (tmp_path / "pytorch_model.bin").write_bytes(b"another format")
    assert base_digest(tmp_path) == before


def test_every_part_decides(tmp_path: Path) -> None:
    shutil.copytree(QUICKSTART, tmp_path / "model")
    parts = ["chat_template.jinja", "config.json", "generation_config.json", "model.safetensors"]
    parts += ["tokenizer.json", "tokenizer_config.json"]
    seen = {base_digest(tmp_path / "model")}
    for part in parts:
        with (tmp_path / "model" / part).open("ab") as file:
            file.write(b" ")
        seen.add(base_digest(tmp_path / "model"))
    assert len(seen) == len(parts) + 1
