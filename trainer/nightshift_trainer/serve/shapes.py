"""Which shapes a pass may have without a row's bytes telling.

A row must get the same bytes alone and in company. Every operation of a pass treats rows one by one, and
what lies behind a row's own end in the cache weighs exactly nothing; but whether a *library's* product sums
in the same order at 8 rows as at 32 is for it to decide. So it is tried out on this machine, for every
shape, when the server starts. Where one differs, every pass is computed at the full shape: slower, same promise.
"""

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from nightshift_trainer.serve.kv import BLOCK
from nightshift_trainer.serve.network import Network

log = logging.getLogger("nightshift.serve")

PREFILL_ROWS = 8
# Cache lengths: finely up to here, then doubling. Products over longer sums are split at multiples of it, and
# at 320 elsewhere than at 512.
FINE_PLACES = 256
PLACES_STEP = 64


@dataclass(frozen=True)
class Shapes:
    """Rounds what a pass needs up to what it may have."""

    slots: int
    """Rows of a full decoding step."""
    max_length: int
    """Tokens of the longest row."""
    elastic: bool
    """Whether bytes were found equal at every shape that the steps below can give."""

    @property
    def max_places(self) -> int:
        """The length of a cache that holds the longest row."""
        return _places(self.max_length)

    def decode_rows(self, rows: int) -> int:
        """Rows of a decoding step for this many."""
        return min(-(-rows // 8) * 8, self.slots) if self.elastic else self.slots

    def prefill_rows(self, rows: int) -> int:
        """Rows of a prompt pass for this many."""
        return -(-rows // 2) * 2 if self.elastic else PREFILL_ROWS

    def places(self, length: int) -> int:
        """The cache length to compute at, for rows up to this long."""
        return _places(length) if self.elastic else self.max_places


def _places(length: int) -> int:
    places = -(-length // PLACES_STEP) * PLACES_STEP
    return places if places <= FINE_PLACES else 1 << (places - 1).bit_length()


def probe(network: Network, slots: int, max_length: int) -> Shapes:
    """The shapes for a model on this machine with the current number of threads. Takes a second or so."""
    shapes = Shapes(slots, max_length, elastic=True)
    decode = sorted({shapes.decode_rows(rows) for rows in range(1, slots + 1)})
    prefill = sorted({shapes.prefill_rows(rows) for rows in range(1, PREFILL_ROWS + 1)})
    with torch.inference_mode():
        if _equal(network, shapes, decode, 1) and _equal(network, shapes, prefill, BLOCK):
            return shapes
    log.warning("bytes depend on the batch here: every pass is computed at its full shape")
    return Shapes(slots, max_length, elastic=False)


def _equal(network: Network, shapes: Shapes, row_counts: list[int], tokens: int) -> bool:
    """Whether passes of every row count and cache length give what the largest gives."""
    rows = row_counts[-1]
    generator = torch.Generator().manual_seed(0)
    size = network.shape.zeros(rows, shapes.max_places).shape
    cache = torch.randn(size, generator=generator)
    token_ids = torch.randint(0, network.vocab_size, (rows, tokens), generator=generator)

    def run(count: int, starts_B1: Tensor, places: int) -> Tensor:
        places_BT = starts_B1[:count] + torch.arange(tokens)
        return network.logits(network.hidden(token_ids[:count], places_BT, cache, places)[:, -1])

    for places in sorted({shapes.places(length) for length in range(1, shapes.max_length + 1)}):
        room = min(places, shapes.max_length) - tokens + 1
        starts = torch.randint(0, room, (rows, 1), generator=generator)
        expected = run(rows, starts, shapes.max_places)
        if not all(torch.equal(run(count, starts, places), expected[:count]) for count in row_counts):
            return False
    return True
