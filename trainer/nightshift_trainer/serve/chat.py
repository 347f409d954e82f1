"""POST /v1/chat/completions, whole and as server-sent events."""

import asyncio
import hashlib
import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from nightshift_trainer.serve import tool_calls
from nightshift_trainer.serve.protocol import ChatBody
from nightshift_trainer.serve.row import Row
from nightshift_trainer.serve.service import Receive, Service, usage

Json = dict[str, Any]


def chat_row(service: Service, body: ChatBody) -> tuple[Row, asyncio.Event]:
    """Renders the messages and makes the row. Raises ApiError."""
    service.models.get(body.model)
    prompt = service.template.render(body.messages, body.tools, body.chat_template_kwargs)
    return service.row(body, prompt, body.max_completion_tokens or body.max_tokens)


async def complete(service: Service, body: ChatBody, receive: Receive) -> Json:
    """The whole answer."""
    row, progress = chat_row(service, body)
    await service.finish(row, progress, receive)
    answer = _answer(service, body, row)
    choice: Json = {
        "index": 0,
        "message": {"role": "assistant", "content": answer.content},
        "logprobs": _logprobs(service, row, 0) if body.logprobs else None,
        "finish_reason": "tool_calls" if answer.tool_calls else row.finish_reason,
        "stop_reason": row.stop_string,
        "token_ids": row.token_ids if body.return_token_ids else None,
    }
    if answer.tool_calls:
        choice["message"]["tool_calls"] = answer.tool_calls
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": row.weights.name,
        "choices": [choice],
        "usage": usage(row),
        "prompt_logprobs": None,
        "prompt_token_ids": row.prompt_ids if body.return_token_ids else None,
    }


async def stream(service: Service, body: ChatBody, row: Row, progress: asyncio.Event) -> AsyncIterator[str]:
    """The same answer in pieces: content as it comes; tool calls when they are complete, in one piece
    each."""
    base: Json = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": row.weights.name,
    }
    first = _chunk(base, {"role": "assistant", "content": ""})
    if body.return_token_ids:
        first["prompt_token_ids"] = row.prompt_ids
    yield _event(first)
    sent_text, sent_tokens = "", 0
    async for count in service.steps(row, progress):
        if row.finish_reason is not None:
            break
        text = _certain(service, body, row, count)
        if text is None or (len(text) == len(sent_text) and not (body.logprobs or body.return_token_ids)):
            continue
        yield _event(
            _chunk(
                base, {"content": text[len(sent_text) :]}, **_tokens(service, body, row, sent_tokens, count)
            )
        )
        sent_text, sent_tokens = text, count
    answer = _answer(service, body, row)
    rest = (answer.content or "")[len(sent_text) :]
    delta: Json = {"content": rest} if rest else {}
    if answer.tool_calls:
        delta["tool_calls"] = [{"index": index, **call} for index, call in enumerate(answer.tool_calls)]
    last = _chunk(base, delta, **_tokens(service, body, row, sent_tokens, len(row.token_ids)))
    last["choices"][0]["finish_reason"] = "tool_calls" if answer.tool_calls else row.finish_reason
    last["choices"][0]["stop_reason"] = row.stop_string
    yield _event(last)
    if body.include_usage:
        yield _event({**base, "choices": [], "usage": usage(row)})
    yield "data: [DONE]\n\n"


def _answer(service: Service, body: ChatBody, row: Row) -> tool_calls.ParsedText:
    text = _text(service, body, row, row.token_ids)
    if not _parses_tools(body):
        return tool_calls.ParsedText(text)
    seed = hashlib.sha256(json.dumps([row.prompt_ids, row.token_ids]).encode()).hexdigest()
    return tool_calls.parse(text, seed)


def _text(service: Service, body: ChatBody, row: Row, token_ids: list[int]) -> str:
    # With tools, tags that a tokenizer holds to be special must reach the parser (vLLM does the same).
    text = service.template.decode(token_ids, keep_special=_parses_tools(body))
    return text if row.stop_string is None else text[: text.index(row.stop_string)]


def _certain(service: Service, body: ChatBody, row: Row, count: int) -> str | None:
    """The text of the first `count` tokens that nothing to come can change; None while a character is
    incomplete."""
    text = service.template.decode(row.token_ids[:count], keep_special=_parses_tools(body))
    if text.endswith("\ufffd"):
        return None
    if _parses_tools(body):
        text = tool_calls.streamable(text)
    for stop in row.stop:
        for length in range(min(len(stop) - 1, len(text)), 0, -1):
            if text.endswith(stop[:length]):
                return None
    return text


def _parses_tools(body: ChatBody) -> bool:
    return bool(body.tools) and body.tool_choice == "auto"


def _tokens(service: Service, body: ChatBody, row: Row, start: int, end: int) -> Json:
    extra: Json = {}
    if body.logprobs:
        extra["logprobs"] = _logprobs(service, row, start, end)
    if body.return_token_ids:
        extra["token_ids"] = row.token_ids[start:end]
    return extra


def _logprobs(service: Service, row: Row, start: int, end: int | None = None) -> Json:
    content: list[Json] = []
    for token_id, logprob in list(zip(row.token_ids, row.logprobs, strict=False))[start:end]:
        token = service.template.token(token_id)
        content.append(
            {"token": token, "logprob": logprob, "bytes": list(token.encode()), "top_logprobs": []}
        )
    return {"content": content}


def _chunk(base: Json, delta: Json, **extra: object) -> Json:
    return {
        **base,
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None, **extra}],
    }


def _event(chunk: Json) -> str:
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"
