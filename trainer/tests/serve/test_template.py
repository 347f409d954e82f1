"""The remembered head must never change what the whole template gives."""

from pathlib import Path
from typing import Any

import pytest

from nightshift_trainer.serve.protocol import ApiError, Message
from nightshift_trainer.serve.template import ChatTemplate

TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
CALL = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"id": "A1", "n": 2}'}}


@pytest.fixture(scope="module")
def template(tiny: Path) -> ChatTemplate:
    return ChatTemplate(tiny / "model", frozenset())


def messages(*bodies: dict[str, Any]) -> list[Message]:
    return [Message.model_validate(body) for body in bodies]


@pytest.mark.parametrize(
    ("bodies", "tools"),
    [
        ([{"role": "user", "content": "hi"}], None),
        ([{"role": "user", "content": "hi"}], TOOLS),
        ([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "0"}], TOOLS),
        ([{"role": "system", "content": "Be kind."}, {"role": "user", "content": ""}], None),
        ([{"role": "system", "content": "Be kind."}], TOOLS),
        (
            [
                {"role": "system", "content": "S"},
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "1", "content": "{}"},
            ],
            TOOLS,
        ),
    ],
)
def test_head_and_rest_are_the_whole(
    template: ChatTemplate, bodies: list[dict[str, Any]], tools: Any
) -> None:
    twice = [template.render(messages(*bodies), tools) for _ in range(2)]
    plain = [
        {
            **body,
            "content": "a\nb" if isinstance(body["content"], list) else body["content"] or "",
            **(
                {"tool_calls": [{"function": {"name": "look", "arguments": {"id": "A1", "n": 2}}}]}
                if "tool_calls" in body
                else {}
            ),
        }
        for body in bodies
    ]
    text = template.tokenizer.apply_chat_template(
        plain, tools=tools, tokenize=False, add_generation_prompt=True
    )
    assert isinstance(text, str)
    whole = template.tokenizer.encode(text, add_special_tokens=False)
    assert [prompt.ids for prompt in twice] == [whole, whole]
    assert twice[0].head_length == twice[1].head_length
    assert (twice[0].head_length > 0) == (bool(tools) or bodies[0]["role"] == "system")


def test_the_head_is_what_two_conversations_share(template: ChatTemplate) -> None:
    system = {"role": "system", "content": "Be kind."}
    one, two = (template.render(messages(system, {"role": "user", "content": c}), TOOLS) for c in ("a", "bb"))
    assert one.head_length == two.head_length
    assert one.ids[: one.head_length] == two.ids[: two.head_length]
    head = template.tokenizer.decode(one.ids[: one.head_length])
    assert isinstance(head, str)
    assert head.startswith("<|im_start|>system\nBe kind.\n<tools>")
    assert head.endswith("</tools><|im_end|>\n")


@pytest.mark.parametrize(
    "body",
    [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "x", "arguments": "{not"}}],
        },
        {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
    ],
)
def test_what_cannot_be_rendered_is_a_bad_request(template: ChatTemplate, body: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as caught:
        template.render(messages(body), None)
    assert caught.value.status == 400
