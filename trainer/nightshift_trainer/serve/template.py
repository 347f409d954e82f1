"""Messages and tools → token ids, by the model's own chat template. The template never leaves this server."""

import json
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from nightshift_trainer.serve.protocol import ApiError, Message


@dataclass(frozen=True)
class Prompt:
    """A rendered chat. The first `head_length` ids are the system prompt and the tools, equal for a whole
    agent."""

    ids: list[int]
    head_length: int


@dataclass(frozen=True)
class _Head:
    text: str
    ids: list[int]


class ChatTemplate:
    """Renders and tokenises. The head (system prompt and tools) is rendered and tokenised once and
    remembered."""

    def __init__(self, directory: Path, eos_ids: frozenset[int]) -> None:
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(directory)
        if not self.tokenizer.chat_template:
            raise ValueError(f"{directory} has no chat template")
        own = self.tokenizer.eos_token_id
        self.eos_ids = eos_ids | ({own} if isinstance(own, int) else frozenset())
        self._added = tuple(token.content for token in self.tokenizer.added_tokens_decoder.values())
        self._tokens: dict[int, str] = {}
        self._heads: dict[Hashable, _Head | None] = {}

    def render(
        self,
        messages: list[Message],
        tools: list[dict[str, Any]] | None,
        template_kwargs: dict[str, Any] | None = None,
        *,
        add_generation_prompt: bool = True,
    ) -> Prompt:
        """Raises ApiError 400 when the template refuses the conversation."""
        plain = [_plain(message) for message in messages]
        extra = template_kwargs or {}
        try:
            text = self._text(plain, tools, extra, add_generation_prompt)
        except (TemplateError, TypeError, ValueError) as error:
            raise ApiError(400, f"the chat template refused the messages: {error}") from error
        head = self._head(plain, tools, extra)
        if head is None or not text.startswith(head.text):
            return Prompt(self.encode(text), 0)
        rest = text[len(head.text) :]
        if rest.startswith(self._added):
            # An added token is split off before anything else, so the two halves tokenise apart as together.
            return Prompt(head.ids + self.encode(rest), len(head.ids))
        ids = self.encode(text)
        same = 0
        while same < min(len(ids), len(head.ids)) and ids[same] == head.ids[same]:
            same += 1
        return Prompt(ids, same)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, no special tokens added."""
        return self.tokenizer.encode(text, add_special_tokens=False)

    def decode(self, token_ids: list[int], *, keep_special: bool = False) -> str:
        """The text of sampled ids, without the token that ended them."""
        ids = token_ids[:-1] if token_ids and token_ids[-1] in self.eos_ids else token_ids
        text = self.tokenizer.decode(ids, skip_special_tokens=not keep_special)
        assert isinstance(text, str)
        return text

    def token(self, token_id: int) -> str:
        """The text of one id, special or not; kept, because it is asked for over and over."""
        if token_id not in self._tokens:
            text = self.tokenizer.decode([token_id])
            assert isinstance(text, str)
            self._tokens[token_id] = text
        return self._tokens[token_id]

    def _text(self, messages: list[dict[str, Any]], tools: Any, extra: dict[str, Any], prompt: bool) -> str:
        rendered = self.tokenizer.apply_chat_template(
            messages, tools=tools, tokenize=False, add_generation_prompt=prompt, **extra
        )
        assert isinstance(rendered, str)
        return rendered

    def _head(self, messages: list[dict[str, Any]], tools: Any, extra: dict[str, Any]) -> _Head | None:
        system = messages[:1] if messages[0]["role"] in ("system", "developer") else []
        if not system and not tools:
            return None
        key = json.dumps([system, tools, extra], sort_keys=True)
        if key not in self._heads:
            if len(self._heads) >= 256:
                self._heads.clear()
            self._heads[key] = self._render_head(system, tools, extra)
        return self._heads[key]

    def _render_head(self, system: list[dict[str, Any]], tools: Any, extra: dict[str, Any]) -> _Head | None:
        """What two renderings with different first words have in common: works for templates that demand a
        user turn."""
        try:
            texts = [
                self._text([*system, {"role": "user", "content": c}], tools, extra, False)
                for c in ("0", "zz")
            ]
        except (TemplateError, TypeError, ValueError):
            return None
        same = 0
        while same < min(map(len, texts)) and texts[0][same] == texts[1][same]:
            same += 1
        text = texts[0][:same]
        # Cut back to the last added token (the turn's opening tag): there a tokeniser never merges across.
        cut = max((text.rfind(token) for token in self._added), default=-1)
        return _Head(text[:cut], self.encode(text[:cut])) if cut > 0 else None


def _plain(message: Message) -> dict[str, Any]:
    """What the template sees: text content, and tool-call arguments as objects, as vLLM hands them over."""
    plain: dict[str, Any] = {"role": message.role, "content": _text_of(message.content)}
    if message.role == "tool":
        plain |= {k: v for k, v in (message.model_extra or {}).items() if k in ("name", "tool_call_id")}
    if message.tool_calls:
        plain["tool_calls"] = [_plain_call(call) for call in message.tool_calls]
    return plain


def _plain_call(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ApiError(400, "every tool call needs a function with a name", param="messages")
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError as error:
            raise ApiError(400, f"tool call arguments are not JSON: {error}", param="messages") from error
    return {**call, "function": {**function, "arguments": arguments}}


def _text_of(content: str | list[dict[str, Any]] | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    parts = [part.get("text") for part in content if part.get("type") == "text"]
    if len(parts) != len(content) or not all(isinstance(part, str) for part in parts):
        raise ApiError(400, "only text parts are served", param="messages")
    return "\n".join(str(part) for part in parts)
