"""One request inside the engine: what was asked, and how far it has come."""

import array
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from nightshift_trainer.serve.model import Weights
from nightshift_trainer.serve.sampling import Sampling, uniforms

FinishReason = Literal["stop", "length", "abort"]


@dataclass(frozen=True)
class PromptLogprob:
    """The logprob of one prompt token given those before it; `top` are the likeliest as (id, logprob)."""

    logprob: float
    rank: int
    top: list[tuple[int, float]]


@dataclass(eq=False)
class Row:
    """A request. The engine's thread writes; others read after `notify` has told them, and set
    `cancelled`."""

    weights: Weights
    prompt_ids: list[int]
    max_tokens: int
    sampling: Sampling
    notify: Callable[[], None]
    """Called on the engine's thread when the row ends, and after every token if `stream`."""
    stream: bool = False
    stop: list[str] = field(default_factory=list)
    cache_salt: str | None = None
    prompt_logprobs: int | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    scored: list[PromptLogprob] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    stop_string: str | None = None
    error: Exception | None = None

    uniforms: list[float] = field(init=False)
    blocks: list[Tensor] = field(default_factory=list, init=False)
    """Keys and values of the prompt so far, in blocks; emptied when the row moves to a slot."""

    def __post_init__(self) -> None:
        self.uniforms = uniforms(self.sampling.seed or 0, self.max_tokens)
        self._bytes = array.array("q", self.prompt_ids).tobytes()

    @property
    def length(self) -> int:
        """Tokens so far, sampled ones included."""
        return len(self.prompt_ids) + len(self.token_ids)

    def key(self, end: int) -> tuple[Weights, str | None, bytes]:
        """The cache key of what the prompt's ids up to `end` decide."""
        return (self.weights, self.cache_salt, self._bytes[: 8 * end])
