"""Continuous batching on one thread: prompts in blocks first, then one decoding step for every slot batch."""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from nightshift_trainer.serve.forward import BlockJob, Slots, run_blocks
from nightshift_trainer.serve.kv import BLOCK, BlockCache
from nightshift_trainer.serve.model import Weights
from nightshift_trainer.serve.row import PromptLogprob, Row
from nightshift_trainer.serve.sampling import sample
from nightshift_trainer.serve.shapes import PREFILL_ROWS, Shapes

log = logging.getLogger("nightshift.serve")

MAX_BLOCK_BYTES = 128 * 2**20


@dataclass
class Counters:
    """Totals since the start, for /metrics."""

    prompt_tokens: int = 0
    generation_tokens: int = 0
    requests: int = 0
    running: int = 0
    waiting: int = 0


class Engine:
    """Computes rows. `submit` from any thread; everything else happens on the engine's own."""

    def __init__(
        self,
        shapes: Shapes,
        threads: int,
        eos_ids: frozenset[int],
        decode: Callable[[list[int]], str],
    ) -> None:
        self.counters = Counters()
        self.blocks = BlockCache(MAX_BLOCK_BYTES)
        self._shapes, self._threads = shapes, threads
        self._eos_ids, self._decode = eos_ids, decode
        self._inbox: queue.SimpleQueue[Row | Weights | None] = queue.SimpleQueue()
        self._waiting: list[Row] = []
        self._batches: dict[Weights, list[Slots]] = {}
        self._seats: dict[Row, Slots] = {}
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
                self._prefill_waiting()
                for batch in [b for batches in self._batches.values() for b in batches]:
                    self._guarded(list(batch.rows), partial(self._step, batch))
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

    def _prefill_waiting(self) -> None:
        """One pass, and as many more as are full: what is left over waits a step for company."""
        full = True
        while full and self._waiting and len(self._seats) < 4 * self._shapes.slots:
            group = self._waiting_group()
            full = len(group) == PREFILL_ROWS
            self._guarded(group, self._prefill)

    def _reuse_blocks(self, row: Row) -> None:
        """Takes the full blocks that are known. The last block is always computed: its logits are needed."""
        if row.prompt_logprobs is not None:
            return
        last = len(row.prompt_ids) - 1
        for end in range(BLOCK, last + 1, BLOCK):
            known = self.blocks.get(row.key(end))
            if known is None:
                return
            row.blocks.append(known)

    def _waiting_group(self) -> list[Row]:
        """The first waiting row and those that fit into its pass."""
        weights = self._waiting[0].weights
        return [row for row in self._waiting if row.weights is weights][:PREFILL_ROWS]

    def _prefill(self, rows: list[Row]) -> None:
        network = rows[0].weights.network
        starts = [len(row.blocks) * BLOCK for row in rows]
        jobs = [
            BlockJob(row.prompt_ids[at : at + BLOCK], row.blocks)
            for row, at in zip(rows, starts, strict=True)
        ]
        hidden, blocks = run_blocks(network, self._shapes, jobs)
        for index, (row, start, block) in enumerate(zip(rows, starts, blocks, strict=True)):
            end = min(start + BLOCK, len(row.prompt_ids))
            if row.prompt_logprobs is not None:
                _score(row, network.logits(hidden[index]), row.prompt_ids[start + 1 : end + 1])
            elif end == start + BLOCK:
                self.blocks.put(row.key(end), block)
            row.blocks.append(block)
        done = [row if len(row.blocks) * BLOCK >= len(row.prompt_ids) else None for row in rows]
        if any(done):
            last = [(len(row.prompt_ids) - 1) % BLOCK for row in rows] + [0] * (len(hidden) - len(rows))
            self._first_tokens(done, network.logits(hidden[torch.arange(len(hidden)), torch.tensor(last)]))

    def _first_tokens(self, done: list[Row | None], logits_BV: Tensor) -> None:
        rows = [row for row in done if row]
        for row in rows:
            self._waiting.remove(row)
        self._sample(logits_BV, done)
        for row in rows:
            if row.finish_reason is None:
                self._place(row, torch.cat(row.blocks, dim=3)[:, :, :, : len(row.prompt_ids)])
                row.blocks = []

    # Decoding
    # -----------------------------------------------------------------------------------------------------

    def _place(self, row: Row, cached: Tensor) -> None:
        batches = self._batches.setdefault(row.weights, [])
        batch = next((b for b in batches if not b.full), None)
        if batch is None:
            batch = Slots(row.weights.network, self._shapes)
            batches.append(batch)
        batch.add(row, cached)
        self._seats[row] = batch

    def _step(self, batch: Slots, rows: list[Row]) -> None:
        if rows:
            self._sample(batch.step(), rows)

    def _sample(self, logits_BV: Tensor, rows: Sequence[Row | None]) -> None:
        """One token for every row; logits without a row are padding."""
        rows = [*rows, *[None] * (len(logits_BV) - len(rows))]
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
        batch = self._seats.pop(row, None)
        if batch is None:
            return
        batch.remove(row)
        if not batch.rows:
            self._batches[row.weights].remove(batch)
            if not self._batches[row.weights]:
                del self._batches[row.weights]


def _score(row: Row, logits_TV: Tensor, next_ids: list[int]) -> None:
    """Appends the logprobs of the next prompt tokens (temperature 1, as vLLM's prompt_logprobs)."""
    logprobs = torch.log_softmax(logits_TV.float(), -1)[: len(next_ids)]
    chosen = logprobs.gather(-1, torch.tensor(next_ids, dtype=torch.long).unsqueeze(-1))
    ranks = (logprobs >= chosen).sum(-1).tolist()
    top = logprobs.topk(max(row.prompt_logprobs or 0, 1), -1)
    for index, rank in enumerate(ranks):
        likeliest = list(zip(top.indices[index].tolist(), top.values[index].tolist(), strict=True))
        row.scored.append(PromptLogprob(chosen[index].item(), rank, likeliest[: row.prompt_logprobs]))
