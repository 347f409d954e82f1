"""The control without replay: a LoRA of the same shape learns successful conversations: `python sft.py order.json`.

The order: base, examples (JSON lines of messages and tools), out, steps, examples per step, lr, rank, alpha, seed.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, TaskType, get_peft_model
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM


def read_example(tokenizer: PreTrainedTokenizerFast, line: str) -> tuple[list[int], list[bool]]:
    """Token ids, and which of them the agent wrote, its end of turn included."""
    example = json.loads(line)
    ids: Any = tokenizer.apply_chat_template(
        [as_demonstrated(message) for message in example["messages"]],
        tools=example["tools"],
        return_dict=False,
    )
    start = tokenizer.encode("<|im_start|>assistant\n")
    own = [False] * len(ids)
    index = 0
    while index < len(ids):
        if ids[index : index + len(start)] != start:
            index += 1
            continue
        index += len(start)
        while index < len(ids):
            own[index] = True
            index += 1
            if ids[index - 1] == tokenizer.eos_token_id:
                break
    return ids, own


def as_demonstrated(message: dict[str, Any]) -> dict[str, Any]:
    """Arguments as objects: the template then writes them as the model does."""
    calls = [
        {**call, "function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}}
        for call in message.get("tool_calls") or []
    ]
    return {**message, "tool_calls": calls} if calls else message


def main() -> None:
    order = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    torch.manual_seed(order["seed"])
    tokenizer = PreTrainedTokenizerFast.from_pretrained(order["base"])
    base = Qwen3ForCausalLM.from_pretrained(order["base"], dtype=torch.float32)
    lora = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=order["rank"],
        lora_alpha=order["alpha"],
        target_modules="all-linear",
    )
    model: Any = get_peft_model(base, lora)
    examples = [read_example(tokenizer, line) for line in Path(order["examples"]).read_text().splitlines()]
    optimiser = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=order["lr"], weight_decay=0
    )
    places: list[int] = []
    for _ in range(order["steps"]):
        while len(places) < order["per_step"]:
            places += torch.randperm(len(examples)).tolist()
        chosen, places = (
            [examples[place] for place in places[: order["per_step"]]],
            places[order["per_step"] :],
        )
        longest = max(len(ids) for ids, _ in chosen)
        ids_BT = torch.tensor([ids + [tokenizer.pad_token_id] * (longest - len(ids)) for ids, _ in chosen])
        own_BT = torch.tensor([own + [False] * (longest - len(own)) for _, own in chosen])
        logits_BTV = model(input_ids=ids_BT[:, :-1]).logits
        targets_BT = ids_BT[:, 1:].masked_fill(~own_BT[:, 1:], -100)
        loss = cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    model.save_pretrained(order["out"])


if __name__ == "__main__":
    main()
