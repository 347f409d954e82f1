"""What every side of the bench trains on: one model shape, one group, one step's settings. Nothing of any side here.

A group of an agent: `members` rows share `prefix` tokens (system prompt, tools, turns) and go on for `own` sampled
tokens each; rewards have mean zero and are used as advantages as they are. All rows are equally long, so no side pads.
"""

import random
from dataclasses import dataclass

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import Qwen3Config, Qwen3ForCausalLM

TOKENS = 400
"""Ids are drawn below this, where every side's tokenizer can decode them."""
LORA_RANK, LORA_ALPHA = 16, 32
SHAPES = {
    # A few layers of Qwen3's proportions: what two CPU cores can step through.
    "cpu": {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 4, "num_attention_heads": 8}
    | {"num_key_value_heads": 4, "head_dim": 64, "vocab_size": 4096},
    # Qwen3-0.6B.
    "gpu": {
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
    }
    | {"num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936},
}


@dataclass(frozen=True, slots=True)
class Workload:
    """One cell of the bench."""

    shape: str
    prefix: int
    own: int
    members: int
    micro_batch: int
    """Rows that the padded sides run at once."""

    def prompt(self) -> list[int]:
        return random.Random("prompt").choices(range(TOKENS), k=self.prefix)

    def completions(self) -> list[list[int]]:
        return [random.Random(f"member {i}").choices(range(TOKENS), k=self.own) for i in range(self.members)]

    def rewards(self) -> list[float]:
        """Evenly from -1 to 1."""
        return [2 * i / (self.members - 1) - 1 for i in range(self.members)]


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def dtype() -> torch.dtype:
    return torch.bfloat16 if torch.cuda.is_available() else torch.float32


def base_model(shape: str) -> Qwen3ForCausalLM:
    """Random weights, always the same."""
    torch.manual_seed(0)
    config = Qwen3Config(**SHAPES[shape], max_position_embeddings=40_960, tie_word_embeddings=True)
    config.pad_token_id = config.eos_token_id = config.bos_token_id = None
    config._attn_implementation = "sdpa"
    return Qwen3ForCausalLM(config).to(device=device(), dtype=dtype())


def with_lora(base: Qwen3ForCausalLM) -> PeftModel:
    """All linear layers; B is not zero, so that A has a gradient as well."""
    torch.manual_seed(1)
    lora = LoraConfig(task_type="CAUSAL_LM", r=LORA_RANK, lora_alpha=LORA_ALPHA, target_modules="all-linear")
    model = get_peft_model(base, lora)
    assert isinstance(model, PeftModel)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.01)
    return model


def gradients_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """By PEFT's names, without wrappers in front."""
    return {
        name[name.index("layers.") :]: p.grad.detach().float().cpu()
        for name, p in model.named_parameters()
        if p.requires_grad and p.grad is not None
    }


def synchronize() -> None:
    """Waits until the GPU has done what it was asked."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
