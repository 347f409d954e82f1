"""POST /v1/completions: token ids in, tokens and (for the activation proof) prompt logprobs out."""

import time
import uuid
from typing import Any

from nightshift_trainer.serve.protocol import ApiError, CompletionBody
from nightshift_trainer.serve.row import Row
from nightshift_trainer.serve.service import Receive, Service, usage
from nightshift_trainer.serve.template import Prompt

Json = dict[str, Any]


async def complete(service: Service, body: CompletionBody, receive: Receive) -> Json:
    """The whole answer. Raises ApiError."""
    if body.stream:
        raise ApiError(400, "the embedded server streams chat completions only", param="stream")
    ids = service.template.encode(body.prompt) if isinstance(body.prompt, str) else body.prompt
    row, progress = service.row(body, Prompt(ids, 0), body.max_tokens, body.prompt_logprobs)
    await service.finish(row, progress, receive)
    text = service.template.decode(row.token_ids)
    if row.stop_string is not None:
        text = text[: text.index(row.stop_string)]
    choice: Json = {
        "index": 0,
        "text": text,
        "logprobs": _logprobs(service, row) if body.logprobs is not None else None,
        "finish_reason": row.finish_reason,
        "stop_reason": row.stop_string,
        "token_ids": row.token_ids if body.return_token_ids else None,
        "prompt_logprobs": None if body.prompt_logprobs is None else _prompt_logprobs(service, row),
        "prompt_token_ids": row.prompt_ids if body.return_token_ids else None,
    }
    return {
        "id": f"cmpl-{uuid.uuid4().hex}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": row.weights.name,
        "choices": [choice],
        "usage": usage(row),
    }


def _prompt_logprobs(service: Service, row: Row) -> list[Json | None]:
    """One entry per prompt token, null for the first; ids are keys, the token itself first."""
    entries: list[Json | None] = [None]
    for token_id, scored in zip(row.prompt_ids[1:], row.scored, strict=True):
        entry = {str(token_id): _entry(service, token_id, scored.logprob, scored.rank)}
        for rank, (other, logprob) in enumerate(scored.top, start=1):
            entry.setdefault(str(other), _entry(service, other, logprob, rank))
        entries.append(entry)
    return entries


def _entry(service: Service, token_id: int, logprob: float, rank: int) -> Json:
    return {"logprob": logprob, "rank": rank, "decoded_token": service.template.token(token_id)}


def _logprobs(service: Service, row: Row) -> Json:
    tokens = [service.template.token(token_id) for token_id in row.token_ids]
    offsets = [sum(map(len, tokens[:index])) for index in range(len(tokens))]
    top = [{token: logprob} for token, logprob in zip(tokens, row.logprobs, strict=True)]
    return {"text_offset": offsets, "token_logprobs": row.logprobs, "tokens": tokens, "top_logprobs": top}
