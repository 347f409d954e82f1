"""Facts about the quickstart's shipped model that the product relies on: tokenizer, template, size."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from transformers import PreTrainedTokenizerFast

MODEL = Path(__file__).resolve().parents[2] / "deploy" / "quickstart" / "model"
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {
                "type": "object",
                "properties": {argument: {"type": "string"}},
                "required": [argument],
            },
        },
    }
    for name, argument, description in [
        ("lookup_order", "order_id", "item, status and age of an order"),
        ("refund_policy", "item", "refund days of an item"),
    ]
]
START = [
    {"role": "system", "content": "You are the support agent of a shop."},
    {"role": "user", "content": "refund A1204"},
]
CALL_TEXT = '<tool_call>{"name": "lookup_order", "arguments": {"order_id": "A1204"}}</tool_call>'
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {
            "id": "1",
            "type": "function",
            "function": {"name": "lookup_order", "arguments": {"order_id": "A1204"}},
        }
    ],
}
RESULT = {"role": "tool", "tool_call_id": "1", "content": '{"order_id":"A1204","refunded":false}'}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(MODEL)


def render(
    tokenizer: PreTrainedTokenizerFast, messages: list[dict[str, Any]], prompt: bool = True
) -> list[int]:
    tools: Any = TOOLS
    ids: Any = tokenizer.apply_chat_template(
        messages, tools=tools, add_generation_prompt=True, return_dict=False
    )
    return ids


def test_every_digit_is_a_token_of_its_own(tokenizer: PreTrainedTokenizerFast) -> None:
    pieces = [tokenizer.decode([token]) for token in tokenizer.encode('A1204 "age_days":37,')]
    assert [piece for piece in pieces if any(letter.isdigit() for letter in piece)] == list("120437")
    vocabulary = [tokenizer.decode([token]) for token in range(len(tokenizer))]
    assert all(len(piece) == 1 for piece in vocabulary if any(letter.isdigit() for letter in piece))


@pytest.mark.parametrize(
    "name", ["lookup_order", "refund_policy", "issue_refund", "order_id", "delivered", "backpack"]
)
def test_names_are_one_token(tokenizer: PreTrainedTokenizerFast, name: str) -> None:
    assert len(tokenizer.encode(name)) == 1


def test_tags_are_ordinary_tokens_and_survive_decoding(tokenizer: PreTrainedTokenizerFast) -> None:
    assert [len(tokenizer.encode(tag)) for tag in ("<tool_call>", "</tool_call>")] == [1, 1]
    ids = tokenizer.encode(CALL_TEXT + "<|im_end|>")
    assert tokenizer.decode(ids, skip_special_tokens=True) == CALL_TEXT
    assert ids[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("text", [CALL_TEXT, "Your order A1204 is shipped.", "Sorry.\nNo  refund: 3 > 2 {}"])
def test_the_next_prompt_begins_with_the_ids_sampled_before(
    tokenizer: PreTrainedTokenizerFast, text: str
) -> None:
    sampled = tokenizer.encode(text + "<|im_end|>")
    said = CALL if text == CALL_TEXT else {"role": "assistant", "content": text}
    before = render(tokenizer, START)
    after = render(tokenizer, [*START, said, RESULT])
    assert after[: len(before) + len(sampled)] == before + sampled


def test_arguments_render_alike_as_an_object_and_as_a_string(tokenizer: PreTrainedTokenizerFast) -> None:
    as_text = json.loads(json.dumps(CALL))
    as_text["tool_calls"][0]["function"]["arguments"] = '{"order_id": "A1204"}'
    assert render(tokenizer, [*START, CALL]) == render(tokenizer, [*START, as_text])


def test_the_whole_prompt_is_the_known_text(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.decode(render(tokenizer, [*START, CALL, RESULT])) == (
        "<|im_start|>system\nYou are the support agent of a shop.\n"
        "lookup_order(order_id): item, status and age of an order\n"
        "refund_policy(item): refund days of an item<|im_end|>\n"
        "<|im_start|>user\nrefund A1204<|im_end|>\n"
        f"<|im_start|>assistant\n{CALL_TEXT}<|im_end|>\n"
        '<|im_start|>tool\n{"order_id":"A1204","refunded":false}<|im_end|>\n'
        "<|im_start|>assistant\n"
    )


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_survives_a_round_trip(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text), clean_up_tokenization_spaces=False) == text


def test_the_weights_are_small_and_fit_the_tokenizer(tokenizer: PreTrainedTokenizerFast) -> None:
    config = json.loads((MODEL / "config.json").read_text())
    assert config["vocab_size"] == len(tokenizer) == 640
    assert config["eos_token_id"] == tokenizer.eos_token_id
    assert (MODEL / "model.safetensors").stat().st_size <= 3_500_000
    with safe_open(MODEL / "model.safetensors", "pt") as weights:
        assert "model.embed_tokens.weight" in weights.keys()  # noqa: SIM118 (no mapping)
