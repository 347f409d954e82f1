"""Prints how many tokens each text has: `count_tokens.py TEXTS.json`."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import tiktoken

# LiteLLM has the vocabulary in its own package; tiktoken by itself would fetch it.
litellm = importlib.util.find_spec("litellm")
assert litellm is not None
assert litellm.origin is not None
os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(litellm.origin).parent / "litellm_core_utils" / "tokenizers")

with open(sys.argv[1], encoding="utf-8") as file:
    texts = json.load(file)
encoding = tiktoken.get_encoding("o200k_base")
print(json.dumps([len(encoding.encode(text, disallowed_special=())) for text in texts]))
