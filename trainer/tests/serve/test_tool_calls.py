import json

import pytest

from nightshift_trainer.serve.tool_calls import parse, streamable

CALL = '<tool_call>{"name": "look", "arguments": {"id": "A1"}}</tool_call>'


@pytest.mark.parametrize(
    ("text", "content", "names"),
    [
        ("plain words", "plain words", []),
        (CALL, None, ["look"]),
        ("One moment. " + CALL, "One moment. ", ["look"]),
        (CALL + "\n" + CALL + " dropped", None, ["look", "look"]),
        ('<tool_call>{"name": "look", "arguments": {}}', None, ["look"]),
        ('<tool_call>{"name": "look"}</tool_call>', '<tool_call>{"name": "look"}</tool_call>', []),
        ("<tool_call>{broken</tool_call>" + CALL, "<tool_call>{broken</tool_call>" + CALL, []),
        ("<tool_call>[1]</tool_call>", "<tool_call>[1]</tool_call>", []),
        ('<tool_call>{"name": 7, "arguments": {}}', '<tool_call>{"name": 7, "arguments": {}}', []),
        ("<tool_call>", "<tool_call>", []),
    ],
)
def test_parse(text: str, content: str | None, names: list[str]) -> None:
    parsed = parse(text, "seed")
    assert parsed.content == content
    assert [call["function"]["name"] for call in parsed.tool_calls] == names  # type: ignore[index]


def test_arguments_are_a_json_string_and_ids_differ_by_call_and_seed() -> None:
    first, second = parse(CALL + CALL, "a").tool_calls
    assert json.loads(first["function"]["arguments"]) == {"id": "A1"}  # type: ignore[index]
    assert len({first["id"], second["id"], parse(CALL, "b").tool_calls[0]["id"]}) == 3
    assert parse(CALL + CALL, "a").tool_calls == [first, second]


@pytest.mark.parametrize(
    ("text", "certain"),
    [
        ("abc", "abc"),
        ("abc<", "abc"),
        ("abc<tool", "abc"),
        ("a<b", "a<b"),
        ("abc" + CALL + "x", "abc"),
        ("", ""),
    ],
)
def test_streamable(text: str, certain: str) -> None:
    assert streamable(text) == certain
