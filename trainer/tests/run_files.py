"""What a run directory is made of, for tests: a tiny model, run.json, batches sampled from the model itself."""

import gzip
import json
import random
from collections.abc import Callable
from collections.abc import Sequence as Seq
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from nightshift_trainer.base_model import base_digest
from nightshift_trainer.batch import GROUPS
from nightshift_trainer.forward import Forward, physical_tokens, token_logprobs
from nightshift_trainer.handover import publish
from nightshift_trainer.types import Sequence

VOCABULARY = 64


def tiny_model(layers: int = 2) -> Qwen3ForCausalLM:
    torch.manual_seed(7)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        intermediate_size=64,
        tie_word_embeddings=True,
        max_position_embeddings=256,
        initializer_range=0.2,  # at the usual 0.02 no adapter could move the logits of so small a model
    )
    return Qwen3ForCausalLM(config).eval()


def rewarded_tokens(completion: list[int]) -> float:
    return sum(token < 16 for token in completion) / len(completion)


def memory_for(tokens: int) -> Callable[[Any, Seq[Sequence]], Forward]:
    """`token_logprobs` on a GPU that has memory for so many physical tokens at once."""

    def forward(model: Any, rows: Seq[Sequence]) -> Forward:
        if physical_tokens(model, rows) > tokens:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return token_logprobs(model, rows)

    return forward


def run_json(base: Path) -> dict[str, Any]:
    return {
        "version": 1,
        "run_id": "run-1",
        "agent": "shop",
        "base_model": {"path": str(base), "digest": base_digest(base) if base.is_dir() else "none"},
        "start_adapter": None,
        "lora": {"rank": 4, "alpha": 16, "dropout": 0, "target_modules": "all-linear"},
        "optimizer": {"lr": 0.01, "weight_decay": 0, "clip_norm": 1, "warmup_steps": 0},
        "loss": {"kind": "cispo", "ratio_cap": 5, "clip_low": 0.2, "clip_high": 0.28, "kl_beta": 0.001},
        "advantage": {"std_floor": 0.1, "normalization": "group_std"},
        "seed": 3,
        "iterations": 1,
        "minibatches_per_batch": 2,
        "micro_batch_tokens": 512,
        "checkpoint_every_steps": 1,
        "batch_deadline_s": 60,
        "heartbeat_interval_s": 1,
        "logprob_gate": {"max_mean_abs_delta": 0.01},
        "dtype": "float32",
        "threads": 1,
        "probe": {"min_tokens": 64},
    }


def call(
    prompt: list[int], completion: list[int], logprobs: list[float], temperature: float = 1
) -> dict[str, Any]:
    return {
        "prompt_token_ids": list(prompt),
        "completion_token_ids": completion,
        "logprobs": logprobs,
        "finish_reason": "stop",
        "adapter_digest": "sha256:" + "a" * 64,
        "sampling": {"temperature": temperature, "top_p": 1, "top_k": 0, "min_p": 0},
    }


def group(group_id: str, members: list[dict[str, Any]], weight: float = 1) -> dict[str, Any]:
    return {"group_id": group_id, "scenario_id": f"scenario-{group_id}", "weight": weight, "members": members}


def member(
    rollout_id: str, reward: float | None, calls: list[dict[str, Any]], **fields: Any
) -> dict[str, Any]:
    scored = {"masked": True} if reward is None else {"reward": reward}
    return {"rollout_id": rollout_id, **scored, "staleness": 0, "calls": calls, **fields}


def write_batch(run: Path, iteration: int, groups: list[dict[str, Any]]) -> Path:
    """What the TypeScript side writes."""
    text = "".join(json.dumps(line) + "\n" for line in groups)
    return write_raw_batch(run, iteration, text, len(groups), sum(len(g["members"]) for g in groups))


def write_raw_batch(run: Path, iteration: int, text: str, groups: int, members: int) -> Path:
    directory = run / f"batch-{iteration}"
    fields = {"version": 1, "iteration": iteration, "groups": groups, "members": members}
    publish(directory, {GROUPS: gzip.compress(text.encode(), mtime=0)}, fields)
    return directory


@torch.no_grad()
def sample(
    model: Any, prompts: list[list[int]], tokens: int, seed: int, temperature: float = 1
) -> list[dict[str, Any]]:
    """One call per prompt (all of one length), sampled from `model` itself."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.tensor(prompts)
    logprobs = []
    for _ in range(tokens):
        logp = torch.log_softmax(model(input_ids=ids).logits[:, -1].float() / temperature, -1)
        token = torch.multinomial(logp.exp(), 1, generator=generator)
        logprobs.append(logp.gather(1, token)[:, 0])
        ids = torch.cat([ids, token], 1)
    rows = torch.stack(logprobs, 1).tolist()
    begin = len(prompts[0])
    return [
        call(p, row[begin:], lp, temperature) for p, row, lp in zip(prompts, ids.tolist(), rows, strict=True)
    ]


def sampled_groups(
    model: Any,
    reward: Callable[[list[int]], float],
    groups: int = 4,
    size: int = 8,
    tokens: int = 6,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Groups that share a prompt of 20 tokens, rewarded by `reward` of the completion."""
    lines = []
    for g in range(groups):
        prompt = random.Random(seed * 1000 + g).choices(range(VOCABULARY), k=20)
        calls = sample(model, [prompt] * size, tokens, seed * 1000 + g)
        members = [
            member(f"{seed}-{g}-{i}", reward(c["completion_token_ids"]), [c]) for i, c in enumerate(calls)
        ]
        lines.append(group(f"{seed}-{g}", members))
    return lines
