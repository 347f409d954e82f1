"""What the pass cannot compute is refused when the server starts, with the reason."""

from typing import Any

import pytest
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from nightshift_trainer.serve.network import Network

SMALL: dict[str, Any] = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
HEADS: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}


def test_another_architecture_is_refused() -> None:
    with pytest.raises(ValueError, match=r"serves Qwen3 models only.*model_type 'llama'"):
        Network(LlamaForCausalLM(LlamaConfig(**SMALL, **HEADS)))


def test_a_variant_that_would_be_computed_wrongly_is_refused() -> None:
    with pytest.raises(ValueError, match="attention_bias True"):
        Network(Qwen3ForCausalLM(Qwen3Config(**SMALL, **HEADS, attention_bias=True)))
