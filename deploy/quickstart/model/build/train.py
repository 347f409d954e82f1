"""Trains the quickstart's tiny model from nothing: `python train.py`. About fifteen minutes on one core.

Supervised learning on demonstrations of a scripted agent, in four phases: short ones (clean, without the
system block) for copying ids and items, then the same with weight on decisions for comparing numbers, then both with
the production prompt before them, and at last the noisy ones, where the mistakes are learned.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from prompt import MODEL, Lessons, shop_lessons
from tokenizer import load_tokenizer
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

SEED = 7
BATCH = 24
WARM_UP_STEPS = 40


@dataclass(frozen=True)
class Phase:
    name: str
    noise: str
    with_system: bool
    steps: int
    seed: int
    # Linear from the first to the second.
    learning_rates: tuple[float, float]
    # Predicting the user and the tools is no goal, but a little of it teaches the model to copy.
    context_weight: float
    # The item in a call is copied from an answer of a tool: one token in eighty, learned too slowly without a weight.
    item_weight: float
    # The first token of a turn and the name of a tool decide what happens. The comparison of age and policy
    # shows only there.
    decision_weight: float


PHASES = (
    Phase(
        "copy",
        "clean",
        False,
        600,
        11,
        (1.5e-3, 1.5e-3),
        context_weight=0.1,
        item_weight=10,
        decision_weight=1,
    ),
    Phase(
        "compare",
        "clean",
        False,
        500,
        12,
        (1.2e-3, 3e-4),
        context_weight=0.02,
        item_weight=5,
        decision_weight=20,
    ),
    Phase(
        "prompt", "clean", True, 200, 14, (1e-3, 3e-4), context_weight=0.02, item_weight=5, decision_weight=5
    ),
    Phase(
        "mistakes",
        "noisy",
        True,
        450,
        13,
        (6e-4, 2e-5),
        context_weight=0.02,
        item_weight=3,
        decision_weight=3,
    ),
)


@dataclass(frozen=True)
class Example:
    ids: list[int]
    weights: list[float]


@dataclass(frozen=True)
class Size:
    hidden: int = 128
    intermediate: int = 384
    layers: int = 4
    heads: int = 4
    key_value_heads: int = 2


def create_model(tokenizer: PreTrainedTokenizerFast, size: Size | None = None) -> Qwen3ForCausalLM:
    """From the random state; the quickstart's size unless said otherwise."""
    size = size or Size()
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_value_heads,
        head_dim=32,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen3ForCausalLM(config)


def read_examples(
    tokenizer: PreTrainedTokenizerFast, phase: Phase, count: int, lessons: Lessons
) -> list[Example]:
    start: list[int] = tokenizer.encode("<|im_start|>assistant\n")
    # Each is one token.
    special = {tokenizer.encode(item)[0]: phase.item_weight for item in lessons.copied}
    special |= {
        tokenizer.encode(tool["function"]["name"])[0]: phase.decision_weight for tool in lessons.tools
    }
    head = [{"role": "system", "content": lessons.prompt}] if phase.with_system else []
    examples = []
    for demonstration in lessons.demonstrations(phase.seed, count, phase.noise):
        ids: Any = tokenizer.apply_chat_template(
            head + demonstration["messages"],
            tools=lessons.tools if phase.with_system else None,
            return_dict=False,
        )
        examples.append(Example(ids, token_weights(ids, start, special, tokenizer.eos_token_id, phase)))
    return examples


def token_weights(
    ids: list[int], start: list[int], special: dict[int, float], end: int, phase: Phase
) -> list[float]:
    """Weight 1 for what the assistant wrote, its end-of-turn token included; more for the `special` tokens."""
    weights = [phase.context_weight] * len(ids)
    index = 0
    while index < len(ids):
        if ids[index : index + len(start)] == start:
            index += len(start)
            first = index
            while index < len(ids):
                weights[index] = phase.decision_weight if index == first else special.get(ids[index], 1.0)
                index += 1
                if ids[index - 1] == end:
                    break
        else:
            index += 1
    return weights


def batches(examples: list[Example], phase: Phase, pad: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Right-padded ids_BT and weights_BT. Neighbours in length share a batch, so that little is padding."""
    window = BATCH * 10
    shuffler = torch.Generator().manual_seed(phase.seed)
    made: list[list[Example]] = []
    for first in range(0, phase.steps * BATCH, window):
        chunk = sorted(examples[first : first + window], key=lambda example: len(example.ids))
        parts = [chunk[at : at + BATCH] for at in range(0, len(chunk), BATCH)]
        order = torch.randperm(len(parts), generator=shuffler).tolist()
        made.extend(parts[at] for at in order)
    for part in made:
        longest = max(len(example.ids) for example in part)
        ids_BT = torch.full((len(part), longest), pad)
        weights_BT = torch.zeros(len(part), longest)
        for row, example in enumerate(part):
            ids_BT[row, : len(example.ids)] = torch.tensor(example.ids)
            weights_BT[row, : len(example.ids)] = torch.tensor(example.weights)
        yield ids_BT, weights_BT


def learning_rate(phase: Phase, step: int) -> float:
    """Linear within the phase, after a warm-up."""
    first, last = phase.learning_rates
    return (first + (last - first) * step / phase.steps) * min(1.0, (step + 1) / WARM_UP_STEPS)


def train(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, phase: Phase, lessons: Lessons, log: Path
) -> None:
    """One phase, with an optimiser of its own, so that a phase can be run again from the model before it."""
    optimiser = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    examples = read_examples(tokenizer, phase, phase.steps * BATCH, lessons)
    # The same divisor for every batch: a token counts alike in short conversations and in long ones. Otherwise the
    # short ones, where the agent did not look, would teach more than their share.
    divisor = sum(sum(example.weights) for example in examples) / phase.steps
    started = time.monotonic()
    model.train()
    for step, (ids_BT, weights_BT) in enumerate(batches(examples, phase, tokenizer.pad_token_id)):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(phase, step)
        logits_BTV = model(input_ids=ids_BT[:, :-1]).logits
        losses = cross_entropy(logits_BTV.flatten(0, 1), ids_BT[:, 1:].flatten(), reduction="none")
        weights = weights_BT[:, 1:].flatten()
        loss = (losses * weights).sum() / divisor
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if (step + 1) % 10 == 0:
            line = {
                "phase": phase.name,
                "step": step + 1,
                "assistant_loss": round(losses[weights >= 1.0].mean().item(), 4),
                "decision_loss": round(losses[weights == phase.decision_weight].mean().item(), 4),
                "item_loss": round(losses[weights == phase.item_weight].mean().item(), 4),
                "seconds": round(time.monotonic() - started, 1),
            }
            with log.open("a") as file:
                file.write(json.dumps(line) + "\n")


def save(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, directory: Path) -> None:
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=True,
        temperature=1.0,
    )
    directory.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(directory)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=MODEL)
    parser.add_argument("--log", type=Path, default=Path("train.log"))
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--keep", type=Path, default=Path("phases"), help="folder for the model after each phase"
    )
    parser.add_argument(
        "--resume-after", choices=[phase.name for phase in PHASES[:-1]], help="begin with a kept model"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    tokenizer, lessons = load_tokenizer(), shop_lessons()
    done: str | None = arguments.resume_after
    model = Qwen3ForCausalLM.from_pretrained(arguments.keep / done) if done else create_model(tokenizer)
    first = next((at + 1 for at, phase in enumerate(PHASES) if phase.name == done), 0)
    for phase in PHASES[first:]:
        train(model, tokenizer, phase, lessons, arguments.log)
        model.save_pretrained(arguments.keep / phase.name)
    save(model, tokenizer, arguments.out)


if __name__ == "__main__":
    main()
