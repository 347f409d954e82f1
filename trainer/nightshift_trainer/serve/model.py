"""The base model and its adapters: which names are served, by which weights.

An adapter is merged into its own copy of the weights. That costs memory (one model per adapter) and buys
speed (no extra products per layer): right for a model that fits a laptop, wrong for production, where vLLM
keeps them apart.
"""

import copy
import json
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from peft.utils.save_and_load import set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from nightshift_trainer.serve.network import Network
from nightshift_trainer.serve.protocol import ApiError


@dataclass(frozen=True, eq=False)
class Weights:
    """One servable model. Compared by identity: a name that is loaded again is another Weights."""

    name: str
    path: str
    parent: str | None
    network: Network
    created: int = field(default_factory=lambda: int(time.time()))


class Models:
    """The served names. Safe to call from several threads; loading is serialised."""

    def __init__(self, directory: Path, name: str, max_loras: int, max_lora_rank: int) -> None:
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
        self._model = model
        self._base = Weights(name, str(directory), None, Network(model))
        self._adapters: dict[str, Weights] = {}
        self._max_loras, self._max_lora_rank = max_loras, max_lora_rank
        self._lock = threading.Lock()

    @property
    def base(self) -> Weights:
        """The base model."""
        return self._base

    @property
    def eos_ids(self) -> frozenset[int]:
        """The tokens that end a completion, as the model's generation config names them."""
        eos = getattr(self._model.generation_config, "eos_token_id", None)
        eos = self._model.config.eos_token_id if eos is None else eos
        return frozenset([eos] if isinstance(eos, int) else eos or [])

    @property
    def max_length(self) -> int:
        """The longest sequence that the model has positions for."""
        return self._model.config.max_position_embeddings

    def all(self) -> list[Weights]:
        """The base first, then the adapters in the order of loading."""
        return [self._base, *self._adapters.values()]

    def get(self, name: str | None) -> Weights:
        """The weights behind a name (none means the base). Raises ApiError 404."""
        if name is None or name == self._base.name:
            return self._base
        found = self._adapters.get(name)
        if found is None:
            raise ApiError(404, f"The model `{name}` does not exist.", "NotFoundError", param="model")
        return found

    def load(self, name: str, path: str) -> None:
        """Reads, checks and merges an adapter. Raises ApiError 400 with the reason; then nothing has
        changed."""
        with self._lock:
            if name == self._base.name or name in self._adapters:
                raise _refused(
                    f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in "
                    "place, set 'load_inplace' to True."
                )
            if len(self._adapters) >= self._max_loras:
                raise _refused(
                    f"all {self._max_loras} adapter slots are taken (--max-loras): unload one first"
                )
            merged = _merge(self._model, Path(path), self._max_lora_rank)
            self._adapters[name] = Weights(name, path, self._base.name, Network(merged))

    def unload(self, name: str) -> Weights:
        """Takes the name away; requests in flight finish on the weights that they started with. ApiError
        404."""
        with self._lock:
            found = self._adapters.pop(name, None)
        if found is None:
            raise ApiError(404, f"The lora adapter '{name}' cannot be found.", "NotFoundError")
        return found


def _merge(base: PreTrainedModel, directory: Path, max_rank: int) -> PreTrainedModel:
    try:
        raw = json.loads((directory / "adapter_config.json").read_text())
        state = load_file(directory / "adapter_model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise _refused(f"no usable adapter in '{directory}': {error}") from error
    if raw.get("peft_type") != "LORA":
        raise _refused(f"adapter_config.json says peft_type {raw.get('peft_type')!r}, only LORA is served")
    ranks = {int(raw.get("r", 0)), *(int(r) for r in (raw.get("rank_pattern") or {}).values())}
    if max(ranks) > max_rank or min(ranks) < 1:
        raise _refused(f"LoRA rank {max(ranks)} is greater than max_lora_rank {max_rank}.")
    try:
        config = LoraConfig(**{k: v for k, v in raw.items() if k in LoraConfig.__dataclass_fields__})
        config.inference_mode = True
        wrapped = get_peft_model(copy.deepcopy(base), config)
        result = set_peft_model_state_dict(wrapped, state)
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        raise _refused(f"the adapter does not fit this base model: {error}") from error
    missing = [key for key in result.missing_keys if "lora_" in key]
    if result.unexpected_keys or missing:
        # PEFT only warns here and serves the base: the silent no-op that the activation proof exists for.
        raise _refused(
            f"the adapter's tensors do not match its modules: {(result.unexpected_keys or missing)[:3]}"
        )
    merged = wrapped.merge_and_unload().eval()  # pyright: ignore[reportCallIssue]
    assert isinstance(merged, PreTrainedModel)
    if not all(bool(torch.isfinite(parameter).all()) for parameter in merged.parameters()):
        raise _refused("the adapter's weights are not finite")
    return merged


def _refused(reason: str) -> ApiError:
    return ApiError(400, reason, "InvalidUserInput")
