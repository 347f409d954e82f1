"""Prints how many tokens each text has: `count_tokens.py TEXTS.json`."""

import json
import sys

import litellm  # noqa: F401  (points tiktoken at the vocabulary in its own package)
import tiktoken

with open(sys.argv[1], encoding="utf-8") as file:
    texts = json.load(file)
encoding = tiktoken.get_encoding("cl100k_base")
print(json.dumps([len(encoding.encode(text, disallowed_special=())) for text in texts]))
