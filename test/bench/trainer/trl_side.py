"""TRL's side: its GRPOTrainer on given ids. A rollout function returns them, so nothing is generated; timed is what its
`training_step` takes (forward and backward, without the optimiser), less the preparation of the batch inside it."""

import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from workload import Workload, base_model, device, gradients_of, synchronize, with_lora

from tests.tiny_model import write_tokenizer


def steps_of(
    workload: Workload, steps: int, _side: str
) -> tuple[list[float], dict[str, Any], dict[str, Any]]:
    prompt, completions = workload.prompt(), workload.completions()
    reward_of = {tuple(c): r for c, r in zip(completions, workload.rewards(), strict=True)}
    first: dict[str, torch.Tensor] = {}
    seconds: list[float] = []
    parts: list[float] = []

    class Keep(TrainerCallback):
        def on_pre_optimizer_step(self, *_: Any, model: Any = None, **__: Any) -> None:
            if not first:
                first.update(gradients_of(model))

    class Timed(GRPOTrainer):
        """Its own step_time leaves nothing of the step out: it is read where it is written."""

        def training_step(self, *arguments: Any) -> Any:
            began = time.perf_counter()
            loss = super().training_step(*arguments)
            synchronize()
            parts.append(time.perf_counter() - began - self._preparing)
            if len(parts) == self.current_gradient_accumulation_steps:
                seconds.append(sum(parts))
                parts.clear()
            return loss

        _preparing = 0.0

        def _prepare_inputs(self, inputs: Any) -> Any:
            began = time.perf_counter()
            prepared = super()._prepare_inputs(inputs)
            self._preparing = time.perf_counter() - began
            return prepared

    with tempfile.TemporaryDirectory() as folder:
        tokenizer = write_tokenizer(Path(folder) / "tokenizer")
        args = GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=workload.micro_batch,
            gradient_accumulation_steps=workload.members // workload.micro_batch,
            num_generations=workload.members,
            max_completion_length=workload.own,
            max_steps=steps,
            learning_rate=0.0,
            max_grad_norm=0.0,
            beta=0.0,
            loss_type="dapo",
            scale_rewards="none",
            use_vllm=False,
            gradient_checkpointing=True,
            gradient_checkpointing_kwargs={"use_reentrant": False},
            bf16=torch.cuda.is_available(),
            use_cpu=device() == "cpu",
            report_to=[],
            save_strategy="no",
            logging_steps=10**6,
            disable_tqdm=True,
            temperature=1.0,
        )
        trainer = Timed(
            model=with_lora(base_model(workload.shape)),
            processing_class=tokenizer,
            args=args,
            train_dataset=Dataset.from_list([{"prompt": "x"}] * 4),
            reward_funcs=lambda completion_ids, **_: [reward_of[tuple(ids)] for ids in completion_ids],
            rollout_func=lambda prompts, _trainer: {
                "prompt_ids": [prompt] * len(prompts),
                "completion_ids": [completions[i % len(completions)] for i in range(len(prompts))],
                "logprobs": [[0.0] * workload.own] * len(prompts),
            },
            callbacks=[Keep()],
        )
        trainer.train()
    return seconds, first, {"physical_tokens": workload.members * (workload.prefix + workload.own)}
