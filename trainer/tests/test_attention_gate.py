"""Which models may run packed: what the configuration says, and what a trial shows."""

from typing import Any

import pytest
import torch
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from nightshift_trainer import attention_gate, tree_attention
from nightshift_trainer.attention_gate import pack_rows
from nightshift_trainer.forward import packs
from tests.run_files import VOCABULARY, tiny_model


def test_a_model_of_full_attention_is_packed_and_otherwise_as_it_was() -> None:
    model, plain = tiny_model(), tiny_model()
    assert pack_rows(model) is None
    assert packs(model)
    assert pack_rows(model) is None  # again does no harm
    ids = torch.arange(40)[None] % VOCABULARY
    assert torch.equal(model(input_ids=ids).logits, plain(input_ids=ids).logits)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"layer_types": ["full_attention", "linear_attention"]}, "layers of type linear_attention"),
        ({"layer_types": ["sliding_attention", "full_attention"]}, "layers of type sliding_attention"),
        ({"layer_types": None, "sliding_window": 64, "use_sliding_window": True}, "a window of 64 tokens"),
        ({"attn_logit_softcapping": 30.0}, "caps its logits"),
    ],
)
def test_a_configuration_that_cannot_be_packed_is_named(changes: dict[str, Any], reason: str) -> None:
    model = tiny_model()
    for name, value in changes.items():
        setattr(model.config, name, value)
    found = pack_rows(model)
    assert found is not None
    assert reason in found
    assert not packs(model)


def test_an_attention_that_ignores_the_tree_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def deaf(*arguments: Any, tree: Any = None, **keywords: Any) -> Any:
        return tree_attention.tree_attention(*arguments, **keywords)

    monkeypatch.setattr(
        tree_attention, "register", lambda: AttentionInterface.register(tree_attention.NAME, deaf)
    )
    model = tiny_model()
    reason = pack_rows(model)
    tree_attention.AttentionInterface.register(tree_attention.NAME, tree_attention.tree_attention)
    assert reason is not None
    assert "a mask that is ignored" in reason
    assert not packs(model)


SMALL = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64} | {
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
}


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3", "qwen3_moe", "olmo2", "phi3"])
def test_architectures_that_pack(kind: str) -> None:
    extra = {"sliding_window": None} if kind in ("mistral", "phi3") else {}
    moe = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16} if "moe" in kind else {}
    tokens = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
    config = AutoConfig.for_model(kind, **SMALL, **extra, **moe, **tokens)
    torch.manual_seed(0)
    assert pack_rows(AutoModelForCausalLM.from_config(config).eval()) is None


@pytest.mark.parametrize(
    ("kind", "reason"), [("gemma2", "sliding_attention"), ("qwen3_next", "linear_attention")]
)
def test_architectures_that_do_not(kind: str, reason: str) -> None:
    config = AutoConfig.for_model(kind, **SMALL)
    found = attention_gate.unfit(config)
    assert found is not None
    assert reason in found


def test_a_model_of_another_time_is_left_alone() -> None:
    config = GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=1, n_head=2, n_positions=128)
    assert (
        pack_rows(GPT2LMHeadModel(config).eval())
        == "its attention is not one of keys and values for each head"
    )
