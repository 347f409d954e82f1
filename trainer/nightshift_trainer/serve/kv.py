"""Where keys and values live: blocks of prompt tokens that are kept, and slots of rows that are being
decoded.

Prompt tokens are computed in blocks of `BLOCK`. A full block is a pure function of the weights and of the ids
up to its end: kept or computed anew, it has the same bytes. Blocks hold prompt tokens only; sampled tokens
are never kept.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 16


@dataclass(frozen=True)
class CacheShape:
    """What the model dictates of a cache: layers, key heads, head size."""

    layers: int
    key_heads: int
    head_size: int

    def zeros(self, rows: int, places: int) -> Tensor:
        """An empty cache [2, L, B, K, S, D]; index 0 keys, 1 values. Zeros, because 0 · NaN of stale
        memory is NaN."""
        return torch.zeros(2, self.layers, rows, self.key_heads, places, self.head_size)


class BlockCache:
    """Blocks [2, L, K, BLOCK, D] by key, least recently used out first. One thread only."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[Hashable, Tensor] = OrderedDict()
        self.hits = 0
        self.queries = 0

    def get(self, key: Hashable) -> Tensor | None:
        """The block, or None."""
        self.queries += 1
        found = self._entries.get(key)
        if found is not None:
            self.hits += 1
            self._entries.move_to_end(key)
        return found

    def put(self, key: Hashable, block: Tensor) -> None:
        """Keeps the block; the least recently used go when the cache is full."""
        self._drop(key)
        self._entries[key] = block
        self._bytes += block.nbytes
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def forget(self, owner: Hashable) -> None:
        """Drops every entry whose key is a tuple that starts with `owner`: the weights that are unloaded."""
        for key in [k for k in self._entries if isinstance(k, tuple) and k[0] == owner]:
            self._drop(key)

    def _drop(self, key: Hashable) -> None:
        block = self._entries.pop(key, None)
        if block is not None:
            self._bytes -= block.nbytes
