"""Continuous batching on one thread: prompts in blocks first, then one decoding step for every slot batch."""

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from nightshift_trainer.serve.forward import PREFILL_ROWS, BlockJob, Slots, run_blocks, suffix_places
from nightshift_trainer.serve.kv import BLOCK, BlockCache, CacheShape, bucket
from nightshift_trainer.serve.model import Weights
from nightshift_trainer.serve.row import PromptLogprob, Row
from nightshift_trainer.serve.sampling import sample

log = logging.getLogger("nightshift.serve")

MAX_BLOCK_BYTES = 128 * 2**20
MAX_PREFIX_BYTES = 32 * 2**20


@dataclass
class Counters:
    """Totals since the start, for /metrics."""

    prompt_tokens: int = 0
    generation_tokens: int = 0
    requests: int = 0
    running: int = 0
    waiting: int = 0


@dataclass(eq=False)
class _Batch:
    """A slot batch and who sits where."""

    key: tuple[object, int]
    slots: Slots
    rows: list[Row | None]
    free: list[int]


class Engine:
    """Computes rows. `submit` from any thread; everything else happens on the engine's own."""

    def __init__(
        self,
        shape: CacheShape,
        slots: int,
        threads: int,
        eos_ids: frozenset[int],
        decode: Callable[[list[int]], str],
    ) -> None:
        self.counters = Counters()
        self.blocks = BlockCache(MAX_BLOCK_BYTES)
        self._prefixes = BlockCache(MAX_PREFIX_BYTES)
        self._shape, self._slots, self._threads = shape, slots, threads
        self._eos_ids, self._decode = eos_ids, decode
        self._inbox: queue.SimpleQueue[Row | Weights | None] = queue.SimpleQueue()
        self._waiting: list[Row] = []
        self._batches: dict[tuple[object, int], list[_Batch]] = {}
        self._seats: dict[Row, tuple[_Batch, int]] = {}
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the engine's thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Starts the engine's thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after the pass it is in; rows in flight are abandoned."""
        self._inbox.put(None)
        self._thread.join()

    def submit(self, row: Row) -> None:
        """Hands a row over. `row.notify` is called when it has ended, and then it has ended for good."""
        self._inbox.put(row)

    def forget(self, weights: Weights) -> None:
        """Drops what was cached for unloaded weights."""
        self._inbox.put(weights)

    def _run(self) -> None:
        torch.set_num_threads(self._threads)  # OpenMP keeps this per thread
        with torch.inference_mode():
            while self._receive():
                self._drop_cancelled()
                while self._waiting and len(self._seats) < 4 * self._slots:
                    self._guarded(self._waiting_group(), self._prefill)
                for batch in [b for batches in self._batches.values() for b in batches]:
                    self._guarded([row for row in batch.rows if row], partial(self._step, batch))
                self.counters.running, self.counters.waiting = len(self._seats), len(self._waiting)

    def _receive(self) -> bool:
        idle = not self._waiting and not self._batches
        while idle or not self._inbox.empty():
            item = self._inbox.get()
            idle = False
            if item is None:
                return False
            if isinstance(item, Weights):
                self.blocks.forget(item)
                self._prefixes.forget(item)
            else:
                self.counters.requests += 1
                self.counters.prompt_tokens += len(item.prompt_ids)
                self._reuse_blocks(item)
                self._waiting.append(item)
        return True

    def _guarded(self, rows: list[Row], work: Callable[[list[Row]], None]) -> None:
        """A failure ends the rows of this pass, not the server."""
        try:
            work(rows)
        except Exception as error:
            log.exception("forward pass failed")
            for row in rows:
                row.error = error
                self._end(row, "abort")

    def _drop_cancelled(self) -> None:
        for row in [*self._waiting, *self._seats]:
            if row.cancelled.is_set():
                self._end(row, "abort")

    # Prompts
    # ------------------------------------------------------------------------------------------------------

    def _reuse_blocks(self, row: Row) -> None:
        """Takes the full blocks that are known. The last block is always computed: its logits are needed."""
        if row.prompt_logprobs is not None:
            return
        last = len(row.prompt_ids) - 1
        for end in range(row.prefix_length + BLOCK, last + 1, BLOCK):
            known = self.blocks.get(row.key(end, row.prefix_length))
            if known is None:
                return
            row.blocks.append(known)

    def _waiting_group(self) -> list[Row]:
        """The first waiting row and those that fit into its pass."""
        first = self._waiting[0]
        key = (first.group, suffix_places(len(first.blocks)))
        return [r for r in self._waiting if (r.group, suffix_places(len(r.blocks))) == key][:PREFILL_ROWS]

    def _prefill(self, rows: list[Row]) -> None:
        first = rows[0]
        starts = [row.prefix_length + len(row.blocks) * BLOCK for row in rows]
        jobs = [
            BlockJob(row.prompt_ids[at : at + BLOCK], row.blocks)
            for row, at in zip(rows, starts, strict=True)
        ]
        places = suffix_places(len(first.blocks))
        logits, blocks = run_blocks(first.weights, self._shape, self._prefix(first), jobs, places)
        done: list[tuple[Row, Tensor]] = []
        for index, (row, start, job, block) in enumerate(zip(rows, starts, jobs, blocks, strict=True)):
            end = start + len(job.token_ids)
            if row.prompt_logprobs is not None:
                _score(row, logits[index, : len(job.token_ids)], row.prompt_ids[start + 1 : end + 1])
            elif len(job.token_ids) == BLOCK:
                self.blocks.put(row.key(end, row.prefix_length), block)
            row.blocks.append(block)
            if end == len(row.prompt_ids):
                done.append((row, logits[index, len(job.token_ids) - 1]))
        for row, _ in done:
            self._waiting.remove(row)
        self._first_tokens(done)

    def _prefix(self, row: Row) -> Tensor | None:
        """The shared prefix [2, L, K, P, D], by the same block pass, alone in it: found or computed, the
        same bytes."""
        if row.prefix_length == 0:
            return None
        prefix = self._prefixes.get(row.group)
        if prefix is None:
            blocks: list[Tensor] = []
            for start in range(0, row.prefix_length, BLOCK):
                job = BlockJob(row.prompt_ids[start : start + BLOCK], blocks)
                blocks.append(
                    run_blocks(row.weights, self._shape, None, [job], suffix_places(len(blocks)))[1][0]
                )
            prefix = torch.cat(blocks, dim=3)
            self._prefixes.put(row.group, prefix)
        return prefix

    def _first_tokens(self, done: list[tuple[Row, Tensor]]) -> None:
        if not done:
            return
        # Always PREFILL_ROWS rows, so that sampling too has one shape.
        logits = torch.stack([logits for _, logits in done] + [done[0][1]] * (PREFILL_ROWS - len(done)))
        rows = [row for row, _ in done]
        self._sample(logits, rows + [None] * (PREFILL_ROWS - len(rows)))
        for row in rows:
            if row.finish_reason is None:
                self._place(row, torch.cat(row.blocks, dim=3))
                row.blocks = []

    # Decoding
    # -----------------------------------------------------------------------------------------------------

    def _place(self, row: Row, cached: Tensor) -> None:
        """Gives the row a slot among those of its group and length."""
        places = bucket(row.own_length)
        key = (row.group, places)
        batches = self._batches.setdefault(key, [])
        batch = next((b for b in batches if b.free), None)
        if batch is None:
            slots = Slots(self._shape, row.weights, self._prefix(row), self._slots, places)
            batch = _Batch(key, slots, [None] * self._slots, list(range(self._slots)))
            batches.append(batch)
        slot = batch.free.pop()
        batch.rows[slot] = row
        self._seats[row] = (batch, slot)
        batch.slots.write(slot, cached[:, :, :, : row.own_length - 1])

    def _step(self, batch: _Batch, present: list[Row]) -> None:
        if not present:
            return
        token_ids = [row.token_ids[-1] if row else 0 for row in batch.rows]
        places = [row.own_length - 1 if row else 0 for row in batch.rows]
        logits = batch.slots.step(token_ids, places)
        self._sample(logits, list(batch.rows))
        for row in present:
            if row.finish_reason is None and row.own_length > batch.slots.places:
                cached = batch.slots.read(self._seats[row][1], row.own_length - 1)
                self._vacate(row)
                self._place(row, cached)

    def _sample(self, logits_BV: Tensor, rows: list[Row | None]) -> None:
        temperature = [row.sampling.temperature if row else 0.0 for row in rows]
        top_p = [row.sampling.top_p if row else 1.0 for row in rows]
        uniform = [row.uniforms[len(row.token_ids)] if row else 0.0 for row in rows]
        tokens, logprobs = sample(logits_BV, temperature, top_p, uniform)
        for row, token, logprob in zip(rows, tokens, logprobs, strict=True):
            if row:
                self._append(row, token, logprob)

    def _append(self, row: Row, token: int, logprob: float) -> None:
        row.token_ids.append(token)
        row.logprobs.append(logprob)
        self.counters.generation_tokens += 1
        if row.stop:
            text = self._decode(row.token_ids)
            row.stop_string = next((stop for stop in row.stop if stop in text), None)
        if token in self._eos_ids or row.stop_string is not None:
            self._end(row, "stop")
        elif len(row.token_ids) >= row.max_tokens:
            self._end(row, "length")
        elif row.stream:
            row.notify()

    def _end(self, row: Row, reason: str) -> None:
        row.finish_reason = reason  # type: ignore[assignment]
        row.blocks = []
        if row in self._waiting:
            self._waiting.remove(row)
        self._vacate(row)
        row.notify()

    def _vacate(self, row: Row) -> None:
        batch, slot = self._seats.pop(row, (None, 0))
        if batch is None:
            return
        batch.rows[slot] = None
        batch.free.append(slot)
        if len(batch.free) == self._slots:
            self._batches[batch.key].remove(batch)
            if not self._batches[batch.key]:
                del self._batches[batch.key]


def _score(row: Row, logits_TV: Tensor, next_ids: list[int]) -> None:
    """Appends the logprobs of the next prompt tokens (temperature 1, as vLLM's prompt_logprobs)."""
    logprobs = torch.log_softmax(logits_TV.float(), -1)[: len(next_ids)]
    chosen = logprobs.gather(-1, torch.tensor(next_ids, dtype=torch.long).unsqueeze(-1))
    ranks = (logprobs >= chosen).sum(-1).tolist()
    top = logprobs.topk(max(row.prompt_logprobs or 0, 1), -1)
    for index, rank in enumerate(ranks):
        likeliest = list(zip(top.indices[index].tolist(), top.values[index].tolist(), strict=True))
        row.scored.append(PromptLogprob(chosen[index].item(), rank, likeliest[: row.prompt_logprobs]))
