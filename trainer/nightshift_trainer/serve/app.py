"""The routes: bodies are checked here, errors get vLLM's shape here."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from nightshift_trainer.serve import chat, completion
from nightshift_trainer.serve.protocol import (
    ApiError,
    ChatBody,
    CompletionBody,
    LoadBody,
    TokenizeBody,
    UnloadBody,
)
from nightshift_trainer.serve.service import Service

log = logging.getLogger("nightshift.serve")
MAX_BODY_BYTES = 8 * 2**20
Body = TypeVar("Body", bound=BaseModel)
Handler = Callable[[Request], Awaitable[Response]]


def create_app(service: Service) -> Starlette:
    """An ASGI app over a started engine."""

    async def chat_completions(request: Request) -> Response:
        body = await _body(request, ChatBody)
        if not body.stream:
            return _json(await chat.complete(service, body, request.receive))  # type: ignore[arg-type]
        row, progress = chat.chat_row(service, body)
        return StreamingResponse(chat.stream(service, body, row, progress), media_type="text/event-stream")

    async def completions(request: Request) -> Response:
        body = await _body(request, CompletionBody)
        return _json(await completion.complete(service, body, request.receive))  # type: ignore[arg-type]

    async def models(_: Request) -> Response:
        return _json({"object": "list", "data": [_card(service, w) for w in service.models.all()]})

    async def load(request: Request) -> Response:
        body = await _body(request, LoadBody)
        await asyncio.to_thread(service.models.load, body.lora_name, body.lora_path)
        log.info("adapter loaded", extra={"lora_name": body.lora_name})
        return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' added successfully.")

    async def unload(request: Request) -> Response:
        body = await _body(request, UnloadBody)
        service.engine.forget(service.models.unload(body.lora_name))
        log.info("adapter unloaded", extra={"lora_name": body.lora_name})
        return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' removed successfully.")

    async def tokenize(request: Request) -> Response:
        body = await _body(request, TokenizeBody)
        service.models.get(body.model)
        if (body.prompt is None) == (not body.messages):
            raise ApiError(400, "give either prompt or messages")
        if body.messages:
            ids = service.template.render(
                body.messages, body.tools, add_generation_prompt=body.add_generation_prompt
            ).ids
        else:
            ids = service.template.encode(body.prompt or "")
        return _json(
            {"count": len(ids), "max_model_len": service.max_model_len, "tokens": ids, "token_strs": None}
        )

    async def health(_: Request) -> Response:
        return Response(status_code=200 if service.engine.alive else 503)

    async def metrics(_: Request) -> Response:
        return PlainTextResponse(_metrics(service), media_type="text/plain; version=0.0.4")

    routes: list[tuple[str, str, Handler]] = [
        ("POST", "/v1/chat/completions", chat_completions),
        ("POST", "/v1/completions", completions),
        ("GET", "/v1/models", models),
        ("POST", "/v1/load_lora_adapter", load),
        ("POST", "/v1/unload_lora_adapter", unload),
        ("POST", "/tokenize", tokenize),
        ("GET", "/health", health),
        ("GET", "/metrics", metrics),
    ]
    return Starlette(
        routes=[Route(path, handler, methods=[method]) for method, path, handler in routes],
        exception_handlers={
            ApiError: _api_error,
            HTTPException: _http_error,
            ClientDisconnect: _gone,
            Exception: _failed,
        },
    )


async def _body(request: Request, kind: type[Body]) -> Body:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise ApiError(413, f"the body is larger than {MAX_BODY_BYTES} bytes", "RequestEntityTooLarge")
        chunks.append(chunk)
    try:
        return kind.model_validate(json.loads(b"".join(chunks)))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(map(str, first["loc"])) or None
        raise ApiError(400, f"{path or 'body'}: {first['msg']}", param=path) from error
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON: {type(error).__name__}") from error


def _json(content: object, status: int = 200) -> Response:
    return Response(
        json.dumps(content, ensure_ascii=False, separators=(",", ":")), status, media_type="application/json"
    )


def _card(service: Service, weights: Any) -> dict[str, Any]:
    return {
        "id": weights.name,
        "object": "model",
        "created": weights.created,
        "owned_by": "nightshift",
        "root": weights.path,
        "parent": weights.parent,
        "max_model_len": service.max_model_len if weights.parent is None else None,
        "permission": [],
    }


def _metrics(service: Service) -> str:
    counters, blocks = service.engine.counters, service.engine.blocks
    values = [
        ("gauge", "vllm:num_requests_running", counters.running),
        ("gauge", "vllm:num_requests_waiting", counters.waiting),
        ("counter", "vllm:prompt_tokens_total", counters.prompt_tokens),
        ("counter", "vllm:generation_tokens_total", counters.generation_tokens),
        ("counter", "nightshift:requests_total", counters.requests),
        ("counter", "nightshift:block_cache_queries_total", blocks.queries),
        ("counter", "nightshift:block_cache_hits_total", blocks.hits),
    ]
    label = f'{{model_name="{service.models.base.name}"}}'
    return "".join(f"# TYPE {name} {kind}\n{name}{label} {value}\n" for kind, name, value in values)


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _json(error.body, error.status)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json(ApiError(error.status_code, error.detail, "HTTPException").body, error.status_code)


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=499)


async def _failed(request: Request, error: Exception) -> Response:
    log.error("request failed", exc_info=error, extra={"path": request.url.path})
    return _json(ApiError(500, "internal error", "InternalServerError").body, 500)
