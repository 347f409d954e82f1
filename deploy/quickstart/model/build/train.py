"""Trains the quickstart's tiny model from nothing: `python train.py`. About ten minutes on one core.

Two phases of supervised learning on demonstrations of a scripted agent: first short ones (clean, without the
system block), where copying ids and comparing numbers is learned; then the production prompt with the noisy
ones, where the mistakes are learned.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from prompt import MODEL, demonstrations, production_prompt
from tokenizer import load_tokenizer
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

BATCH = 24
PEAK_LEARNING_RATE = 1.5e-3
WARM_UP_STEPS = 40
# Predicting the user and the tools is no goal, but a little of it teaches the model to copy.
CONTEXT_WEIGHT = 0.1
# The first token of a turn decides: call, refuse or answer. It holds the comparison of age and policy.
DECISION_WEIGHT = 5.0


@dataclass(frozen=True)
class Phase:
    name: str
    noise: str
    steps: int
    with_system: bool
    seed: int


PHASES = (
    Phase("clean", noise="clean", steps=850, with_system=False, seed=11),
    Phase("noisy", noise="noisy", steps=350, with_system=True, seed=12),
)


@dataclass(frozen=True)
class Example:
    ids: list[int]
    weights: list[float]


def create_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen3ForCausalLM(config)


def read_examples(tokenizer: PreTrainedTokenizerFast, phase: Phase, count: int) -> list[Example]:
    prompt, tools = production_prompt()
    start: list[int] = tokenizer.encode("<|im_start|>assistant\n")
    head = [{"role": "system", "content": prompt}] if phase.with_system else []
    examples = []
    for demonstration in demonstrations(phase.seed, count, phase.noise):
        ids: Any = tokenizer.apply_chat_template(
            head + demonstration["messages"], tools=tools if phase.with_system else None, return_dict=False
        )
        examples.append(Example(ids, assistant_weights(ids, start, tokenizer.eos_token_id)))
    return examples


def assistant_weights(ids: list[int], start: list[int], end: int) -> list[float]:
    """Weight 1 for what the assistant wrote, its end-of-turn token included; more for the first of a turn."""
    weights = [CONTEXT_WEIGHT] * len(ids)
    index = 0
    while index < len(ids):
        if ids[index : index + len(start)] == start:
            index += len(start)
            first = index
            while index < len(ids):
                weights[index] = DECISION_WEIGHT if index == first else 1.0
                index += 1
                if ids[index - 1] == end:
                    break
        else:
            index += 1
    return weights


def batches(examples: list[Example], steps: int, pad: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Right-padded ids_BT and weights_BT. Neighbours in length share a batch, so that little is padding."""
    window = BATCH * 10
    made: list[list[Example]] = []
    for first in range(0, steps * BATCH, window):
        chunk = sorted(examples[first : first + window], key=lambda example: len(example.ids))
        parts = [chunk[at : at + BATCH] for at in range(0, len(chunk), BATCH)]
        order = torch.randperm(len(parts)).tolist()
        made.extend(parts[at] for at in order)
    for part in made:
        longest = max(len(example.ids) for example in part)
        ids_BT = torch.full((len(part), longest), pad)
        weights_BT = torch.zeros(len(part), longest)
        for row, example in enumerate(part):
            ids_BT[row, : len(example.ids)] = torch.tensor(example.ids)
            weights_BT[row, : len(example.ids)] = torch.tensor(example.weights)
        yield ids_BT, weights_BT


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then flat, then linear to a thirtieth over the last third."""
    if step < WARM_UP_STEPS:
        return PEAK_LEARNING_RATE * (step + 1) / WARM_UP_STEPS
    left = (steps - step) / (steps / 3)
    return PEAK_LEARNING_RATE * max(0.03, min(1.0, left))


def train(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    log: Path,
    first_phase: int = 0,
    keep: Path | None = None,
) -> None:
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=PEAK_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01
    )
    steps = sum(phase.steps for phase in PHASES)
    step, started = sum(phase.steps for phase in PHASES[:first_phase]), time.monotonic()
    model.train()
    for phase in PHASES[first_phase:]:
        examples = read_examples(tokenizer, phase, phase.steps * BATCH)
        for ids_BT, weights_BT in batches(examples, phase.steps, tokenizer.pad_token_id):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, steps)
            logits_BTV = model(input_ids=ids_BT[:, :-1]).logits
            losses = cross_entropy(logits_BTV.flatten(0, 1), ids_BT[:, 1:].flatten(), reduction="none")
            weights = weights_BT[:, 1:].flatten()
            loss = (losses * weights).sum() / weights.sum()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            step += 1
            if step % 10 == 0:
                said = losses[weights >= 1.0].mean().item()
                line = {
                    "phase": phase.name,
                    "step": step,
                    "assistant_loss": round(said, 4),
                    "seconds": round(time.monotonic() - started, 1),
                }
                with log.open("a") as file:
                    file.write(json.dumps(line) + "\n")
        if keep:
            model.save_pretrained(keep / phase.name)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=MODEL)
    parser.add_argument("--log", type=Path, default=Path("train.log"))
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for the model after each phase")
    parser.add_argument("--resume", type=Path, help="a kept model of the first phase: runs only the second")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    tokenizer = load_tokenizer()
    resume = arguments.resume
    model = (
        Qwen3ForCausalLM.from_pretrained(resume, dtype=torch.float32) if resume else create_model(tokenizer)
    )
    train(model, tokenizer, arguments.log, first_phase=1 if resume else 0, keep=arguments.keep)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=True,
        temperature=1.0,
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(arguments.out)


if __name__ == "__main__":
    main()
