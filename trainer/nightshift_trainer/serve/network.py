"""Qwen3's forward pass over the server's own KV cache, in as few tensor operations as it takes.

The model is tiny, so what an operation costs is mostly its call: transformers' own forward spends four times
as long on the same numbers. Only Qwen3 is served; another architecture is refused when the server starts.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from transformers import PreTrainedModel

from nightshift_trainer.serve.kv import CacheShape


@dataclass(frozen=True)
class _Layer:
    """One decoder layer; products are stored [in, out], those of one input side by side, the weight of
    the norm before them multiplied in."""

    qkv: Tensor
    qk_norm: Tensor
    """[heads + key heads, D]"""
    out: Tensor
    gate_up: Tensor
    down: Tensor


class Network:
    """The weights of one model, laid out for the pass. Immutable."""

    def __init__(self, model: PreTrainedModel) -> None:
        config = model.config
        _check(config)
        state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
        self.heads: int = config.num_attention_heads
        self.shape = CacheShape(config.num_hidden_layers, config.num_key_value_heads, config.head_dim)
        self.vocab_size: int = config.vocab_size
        self._eps = torch.tensor(config.rms_norm_eps)
        self._embedding = state["model.embed_tokens.weight"].clone()
        self._layers = [
            _layer(state, f"model.layers.{n}.", self.heads, self.shape.key_heads)
            for n in range(self.shape.layers)
        ]
        self._head = _product(state["model.norm.weight"], state["lm_head.weight"])
        places = torch.arange(config.max_position_embeddings).unsqueeze(0)
        with torch.no_grad():
            cos, sin = model.model.rotary_emb(self._embedding[:1], places)
        # Rotation is x · cos + (halves of x swapped) · sin, with the sign of the swapped half in sin.
        half = self.shape.head_size // 2
        self._cos = cos[0].clone()
        self._sin = torch.cat([-sin[0, :, :half], sin[0, :, half:]], -1)

    def hidden(self, token_ids_BT: Tensor, places_BT: Tensor, cache: Tensor, places: int) -> Tensor:
        """The last layer's output [B, T, H]. Row b's new tokens are written to the cache [2, L, ≥ B, K, ≥ S, D]
        at their places, all below S = `places`; each sees the places of its row up to its own."""
        B, T = token_ids_BT.shape
        K, D, S = self.shape.key_heads, self.shape.head_size, places
        H, G, N = self.heads, self.heads // K, B * T
        flat = places_BT.reshape(N)
        cos, sin = self._cos[flat].unsqueeze(1), self._sin[flat].unsqueeze(1)
        rows = torch.arange(B * K).view(B, 1, K) * cache.shape[4]
        written = (rows + places_BT.unsqueeze(-1)).view(N * K)
        hidden = torch.arange(S) > places_BT.unsqueeze(-1)
        mask = torch.zeros(B, T, S).masked_fill_(hidden, float("-inf"))
        mask = mask.repeat_interleave(G, dim=1).unsqueeze(1)
        x = F.embedding(token_ids_BT.reshape(N), self._embedding)
        for layer, keys, values in zip(self._layers, cache[0], cache[1], strict=True):
            qkv = torch.mm(self._normed(x), layer.qkv)
            qk = qkv[:, : (H + K) * D].view(N, H + K, D)
            qk = self._normed(qk).mul_(layer.qk_norm)
            qk = torch.addcmul(qk * cos, qk.roll(D // 2, -1), sin)
            keys.view(-1, D).index_copy_(0, written, qk[:, H:].reshape(N * K, D))
            values.view(-1, D).index_copy_(0, written, qkv[:, (H + K) * D :].reshape(N * K, D))
            # The G query heads of one key head are further query tokens to the kernel.
            query = qk[:, :H].view(B, T, K, G, D).transpose(1, 2).reshape(B, K, T * G, D)
            seen = F.scaled_dot_product_attention(query, keys[:B, :, :S], values[:B, :, :S], mask)
            seen = seen.view(B, K, T, G, D).transpose(1, 2).reshape(N, H * D)
            x = torch.addmm(x, seen, layer.out)
            gate, up = torch.mm(self._normed(x), layer.gate_up).chunk(2, -1)
            x = torch.addmm(x, F.silu(gate).mul_(up), layer.down)
        return x.view(B, T, -1)

    def _normed(self, x: Tensor) -> Tensor:
        """RMSNorm over the last dimension without its weight: torch's own takes eight operations."""
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x * torch.addcmul(self._eps, norm, norm, value=1 / x.shape[-1]).rsqrt_()

    def logits(self, hidden_NH: Tensor) -> Tensor:
        """[N, V]"""
        return torch.mm(self._normed(hidden_NH), self._head)


def _layer(state: dict[str, Tensor], at: str, heads: int, key_heads: int) -> _Layer:
    layer = {
        name.removeprefix(at).removesuffix(".weight"): t for name, t in state.items() if name.startswith(at)
    }
    q_norm, k_norm = layer["self_attn.q_norm"], layer["self_attn.k_norm"]
    return _Layer(
        qkv=_product(layer["input_layernorm"], *(layer[f"self_attn.{name}_proj"] for name in "qkv")),
        qk_norm=torch.cat([q_norm.expand(heads, -1), k_norm.expand(key_heads, -1)]),
        out=layer["self_attn.o_proj"].t().contiguous(),
        gate_up=_product(layer["post_attention_layernorm"], layer["mlp.gate_proj"], layer["mlp.up_proj"]),
        down=layer["mlp.down_proj"].t().contiguous(),
    )


def _product(norm: Tensor, *weights: Tensor) -> Tensor:
    return (torch.cat(weights) * norm).t().contiguous()


def _check(config: object) -> None:
    """Raises ValueError for what the pass above would compute wrongly."""
    wanted = {"model_type": "qwen3", "hidden_act": "silu", "attention_bias": False}
    found = {name: getattr(config, name, None) for name in wanted}
    found["layer_types"] = sorted(set(getattr(config, "layer_types", None) or ["full_attention"]))
    found["rope_type"] = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    wanted |= {"layer_types": ["full_attention"], "rope_type": "default"}
    wrong = [
        f"{name} {found[name]!r} (not {wanted[name]!r})" for name in wanted if found[name] != wanted[name]
    ]
    if wrong:
        raise ValueError(f"the embedded server serves Qwen3 models only; this one has {', '.join(wrong)}")
