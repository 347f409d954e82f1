"""From a request body to a row and back: what the routes share."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from starlette.requests import ClientDisconnect

from nightshift_trainer.serve.engine import Engine
from nightshift_trainer.serve.model import Models
from nightshift_trainer.serve.protocol import ApiError, SamplingBody
from nightshift_trainer.serve.row import Row
from nightshift_trainer.serve.sampling import Sampling
from nightshift_trainer.serve.template import ChatTemplate, Prompt

Receive = Callable[[], "asyncio.Future[dict[str, object]]"]


@dataclass(frozen=True)
class Service:
    """The parts behind the routes."""

    models: Models
    engine: Engine
    template: ChatTemplate
    max_model_len: int

    def row(
        self, body: SamplingBody, prompt: Prompt, max_tokens: int | None, prompt_logprobs: int | None = None
    ) -> tuple[Row, asyncio.Event]:
        """A row and the event that its progress sets. Raises ApiError for an unknown model or a prompt too
        long."""
        weights = self.models.get(body.model)
        room = self.max_model_len - len(prompt.ids)
        if room < 1 or (max_tokens or 1) > room:
            raise ApiError(
                400,
                f"This model's maximum context length is {self.max_model_len} tokens. However, your request "
                f"has {len(prompt.ids)} input tokens and asks for {max_tokens or 1} output tokens or more. "
                "Please reduce the length of the input messages or max_tokens.",
            )
        if max(prompt.ids) >= weights.network.vocab_size:
            raise ApiError(400, f"Token id {max(prompt.ids)} is out of vocabulary", param="prompt")
        progress = asyncio.Event()
        loop = asyncio.get_running_loop()
        row = Row(
            weights=weights,
            prompt_ids=prompt.ids,
            max_tokens=max_tokens or room,
            sampling=Sampling(
                body.temperature, body.top_p, secrets.randbits(63) if body.seed is None else body.seed
            ),
            notify=lambda: _tell(loop, progress),
            stream=body.stream,
            stop=body.stop,
            cache_salt=body.cache_salt,
            prompt_logprobs=prompt_logprobs,
        )
        return row, progress

    async def finish(self, row: Row, progress: asyncio.Event, receive: Receive) -> Row:
        """Runs a row to its end; a client that hangs up before aborts it (ClientDisconnect)."""
        self.engine.submit(row)
        gone = asyncio.ensure_future(_disconnected(receive))
        gone.add_done_callback(lambda _: progress.set())
        try:
            await progress.wait()  # set once: the row has no stream, so only its end or a hang-up sets it
            if row.finish_reason is None:
                raise ClientDisconnect
        finally:
            gone.cancel()
            if row.finish_reason is None:
                row.cancelled.set()
        return checked(row)

    async def steps(self, row: Row, progress: asyncio.Event) -> AsyncIterator[int]:
        """Runs a row, yielding how many tokens it has whenever there are more; closing the iterator aborts
        it."""
        self.engine.submit(row)
        try:
            while True:
                await progress.wait()
                progress.clear()
                ended = row.finish_reason is not None
                yield len(row.token_ids)
                if ended:
                    break
        finally:
            if row.finish_reason is None:
                row.cancelled.set()
        checked(row)


def checked(row: Row) -> Row:
    """The row, unless the engine failed on it."""
    if row.error is not None:
        raise row.error
    return row


def usage(row: Row) -> dict[str, int]:
    """OpenAI's usage block."""
    prompt, completion = len(row.prompt_ids), len(row.token_ids)
    return {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}


def _tell(loop: asyncio.AbstractEventLoop, progress: asyncio.Event) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(progress.set)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
