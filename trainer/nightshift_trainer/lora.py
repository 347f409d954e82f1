"""The policy: a frozen base model with one LoRA adapter, and the adapter as files."""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from peft.utils.save_and_load import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import logging as transformers_logging

from nightshift_trainer.attention_gate import pack_rows
from nightshift_trainer.config import RunConfig, located
from nightshift_trainer.errors import ConfigError

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


class Policy:
    """π_θ, and π_ref with the adapter switched off: one set of base weights in memory."""

    def __init__(self, peft_model: PeftModel, unpacked: str | None = None, recompute: bool = False) -> None:
        self._peft = peft_model
        self._recompute = recompute
        self.model: Any = peft_model.get_base_model()
        """The transformers model with LoRA layers in place."""
        self.unpacked = unpacked
        """Why rows that begin alike are not packed; None when they are."""
        if recompute:
            self.model.activation_checkpointing_enable({"use_reentrant": False})
        self._train(peft_model.training)

    def base(self) -> AbstractContextManager[None]:
        """Inside this context the model is the base model."""
        return self._peft.disable_adapter()

    @contextmanager
    def without_dropout(self) -> Iterator[None]:
        """Inside this context the adapter is what a server computes."""
        training = self._peft.training
        self._peft.eval()
        try:
            yield
        finally:
            self._train(training)

    def _train(self, dropout: bool) -> None:
        self._peft.train(dropout)
        for module in self.model.modules() if self._recompute else ():
            if isinstance(module, GradientCheckpointingLayer):
                module.training = (
                    True  # its own flag only: layers recompute in training, dropout below asks its own
                )

    def parameters(self) -> dict[str, nn.Parameter]:
        """The trained parameters in one fixed order."""
        return {name: p for name, p in sorted(self._peft.named_parameters()) if p.requires_grad}

    def vocabulary_size(self) -> int:
        """Rows of the embedding: the ids that the model knows."""
        return self.model.get_input_embeddings().weight.shape[0]

    def max_positions(self) -> int | None:
        """Longest sequence that the model was made for, stretched where its configuration stretches it; None where the
        configuration does not say."""
        config = self.model.config.get_text_config()
        most = getattr(config, "max_position_embeddings", None)
        rope = getattr(config, "rope_parameters", None) or {}
        if most is None or "factor" not in rope or rope.get("rope_type") in {"llama3", "longrope"}:
            return most
        return max(most, int(rope["factor"] * rope.get("original_max_position_embeddings", most)))

    def adapter_tensors(self) -> dict[str, Tensor]:
        """The adapter under PEFT's file names."""
        state = get_peft_model_state_dict(self._peft)
        return {name: state[name].detach().cpu().contiguous() for name in sorted(state)}

    def adapter_files(self, base_path: str) -> dict[str, bytes]:
        """A PEFT adapter directory; the same adapter gives the same bytes."""
        config = self._peft.peft_config["default"].to_dict()
        config["base_model_name_or_path"] = base_path
        config["inference_mode"] = True
        config["target_modules"] = sorted({name.rsplit(".", 1)[-1] for name in config["target_modules"]})
        text = json.dumps(config, indent=2, sort_keys=True, default=str) + "\n"
        return {CONFIG: text.encode(), WEIGHTS: save(self.adapter_tensors(), metadata={"format": "pt"})}

    def load_adapter(self, tensors: Mapping[str, Tensor]) -> None:
        """Replaces the adapter's weights; raises ValueError when names or shapes are others than this adapter's."""
        own = self.adapter_tensors()
        if tensors.keys() != own.keys():
            raise ValueError(f"modules differ: {sorted(tensors.keys() ^ own.keys())[:3]}")
        for name, tensor in tensors.items():
            if tensor.shape != own[name].shape:
                raise ValueError(
                    f"{name} has shape {tuple(tensor.shape)}, the run asks for {tuple(own[name].shape)}"
                )
        set_peft_model_state_dict(self._peft, dict(tensors))


def quieten() -> None:
    """Progress bars and notices of the libraries' own upgrades are no concern of the run's operator."""
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.")


def load_policy(directory: Path, config: RunConfig) -> Policy:
    """Base model, seeded LoRA layers, and the weights of `start_adapter` if there is one. Raises ConfigError."""
    quieten()
    path = located(directory, config.base_model)
    try:
        base: Any = AutoModelForCausalLM.from_pretrained(
            path, dtype=getattr(torch, config.dtype), local_files_only=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"base_model.path: {path} is not a model that transformers loads: {error}"
        ) from error
    base = base.to("cuda" if torch.cuda.is_available() else "cpu")
    unpacked = pack_rows(base)
    torch.manual_seed(config.seed)
    lora = config.lora
    peft_model = get_peft_model(
        base,
        LoraConfig(
            task_type=TaskType.CAUSAL_LM,
            r=lora.rank,
            lora_alpha=lora.alpha,  # pyright: ignore[reportArgumentType] -- PEFT multiplies with it, any number serves
            lora_dropout=lora.dropout,
            target_modules=lora.target_modules,
        ),
    )
    assert isinstance(peft_model, PeftModel)
    peft_model.train(lora.dropout > 0)
    policy = Policy(peft_model, unpacked, config.gradient_checkpointing)
    if config.start_adapter is not None:
        _start_from(policy, located(directory, config.start_adapter), config)
    return policy


def _start_from(policy: Policy, path: Path, config: RunConfig) -> None:
    try:
        alpha = json.loads((path / CONFIG).read_text())["lora_alpha"]
        if alpha != config.lora.alpha:
            raise ValueError(f"its alpha is {alpha}, the run asks for {config.lora.alpha}")
        reference = path / "reference.json"
        base = json.loads(reference.read_text())["base_model_digest"] if reference.exists() else None
        if base not in (None, config.base_model.digest):
            raise ValueError(f"it was trained on base {base}, the run's is {config.base_model.digest}")
        policy.load_adapter(load_file(path / WEIGHTS))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ConfigError(f"start_adapter.path: {path} cannot be continued: {error}") from error
