"""Hermes tool calls: `<tool_call>{"name": …, "arguments": {…}}</tool_call>` in the text ↔ OpenAI
`tool_calls`."""

import hashlib
import json
import re
from dataclasses import dataclass, field

OPEN = "<tool_call>"
_REGION = re.compile(r"<tool_call>(.*?)</tool_call>|<tool_call>(.*)", re.DOTALL)


@dataclass(frozen=True)
class ParsedText:
    """What a completion's text means: content, or calls with the content before the first of them."""

    content: str | None
    tool_calls: list[dict[str, object]] = field(default_factory=list)


def parse(text: str, id_seed: str) -> ParsedText:
    """One malformed call makes the whole text content, as in vLLM's hermes parser.

    Call ids are derived from `id_seed` (what was asked and sampled) and the call's index, so that the same
    seed gives the same bytes; vLLM draws them at random.
    """
    if OPEN not in text:
        return ParsedText(text)
    try:
        calls = [json.loads(closed or open_) for closed, open_ in _REGION.findall(text)]
        functions = [
            {"name": call["name"], "arguments": json.dumps(call["arguments"], ensure_ascii=False)}
            for call in calls
        ]
    except (ValueError, KeyError, TypeError):
        return ParsedText(text)
    if not all(isinstance(function["name"], str) for function in functions):
        return ParsedText(text)
    return ParsedText(
        text[: text.index(OPEN)] or None,
        [
            {"id": _call_id(id_seed, index), "type": "function", "function": function}
            for index, function in enumerate(functions)
        ],
    )


def streamable(text: str) -> str:
    """The part of a growing text that is content for certain: up to the first tag, or what might become
    one."""
    at = text.find(OPEN)
    if at >= 0:
        return text[:at]
    for length in range(min(len(OPEN) - 1, len(text)), 0, -1):
        if text.endswith(OPEN[:length]):
            return text[:-length]
    return text


def _call_id(id_seed: str, index: int) -> str:
    return f"chatcmpl-tool-{hashlib.sha256(f'{id_seed}/{index}'.encode()).hexdigest()[:32]}"
