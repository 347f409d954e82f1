"""`python example/make.py`, from `trainer/`: writes this example's run.json and batch-1, the same bytes every time.

The quickstart's model as the agent of a shop of eight orders: six customers want a refund, each is served eight times,
token by token at temperature 1. Whoever pays back exactly what the policy allows, and says so, gets 1, else 0.
"""

import gzip
import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from nightshift_trainer.base_model import base_digest
from nightshift_trainer.batch import GROUPS
from nightshift_trainer.handover import encode_json, publish

HERE = Path(__file__).parent
MODEL = HERE.parent.parent / "deploy" / "quickstart" / "model"
MEMBERS, MAX_CALLS, MAX_TOKENS = 8, 6, 48
SYSTEM = (
    "You are the support agent of a shop. Always look up the order before you answer. "
    "For a refund, also check the policy: refund only if the age is within the refund days. Say what you did."
)
TOOLS = [
    {"name": "lookup_order", "argument": "order_id", "description": "item, status and age of an order"},
    {"name": "refund_policy", "argument": "item", "description": "refund days of an item"},
    {"name": "issue_refund", "argument": "order_id", "description": "pays the order back"},
]
REFUND_DAYS = {"kettle": 45, "camera": 14, "radio": 30}
ORDERS = {
    "A2101": ("kettle", 12),
    "A2102": ("camera", 40),
    "A2103": ("radio", 28),
    "A2104": ("camera", 9),
    "A2105": ("kettle", 51),
    "A2106": ("radio", 33),
}


def main() -> None:
    torch.manual_seed(1)
    torch.set_num_threads(1)
    model: Any = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(MODEL)
    lines = []
    for order_id in ORDERS:
        members = [_member(f"{order_id}-{i}", order_id, model, tokenizer) for i in range(MEMBERS)]
        lines.append({"group_id": order_id, "scenario_id": order_id, "weight": 1, "members": members})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    fields = {"version": 1, "iteration": 1, "groups": len(lines), "members": MEMBERS * len(lines)}
    publish(HERE / "batch-1", {GROUPS: gzip.compress(text.encode(), mtime=0)}, fields)
    (HERE / "run.json").write_bytes(encode_json(_run()))


def _member(rollout_id: str, order_id: str, model: Any, tokenizer: Any) -> dict[str, Any]:
    functions = [
        {"function": {"name": t["name"], "description": t["description"]}}
        | {"parameters": {"properties": {t["argument"]: {"type": "string"}}}}
        for t in TOOLS
    ]
    tools = [
        {"type": "function", "function": {**f["function"], "parameters": f["parameters"]}} for f in functions
    ]
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": f"Please check if I can get a refund for order {order_id}."},
    ]
    prompt = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True)
    ids = tokenizer.encode(prompt, add_special_tokens=False)
    calls: list[dict[str, Any]] = []
    refunded, said = False, ""
    while len(calls) < MAX_CALLS:
        completion, logprobs = _sample(model, ids, tokenizer.eos_token_id)
        calls.append(_call(ids, completion, logprobs, tokenizer.eos_token_id))
        said = tokenizer.decode(completion, skip_special_tokens=True)
        wanted = _tool_call(said)
        if wanted is None:
            break
        name, arguments = wanted
        refunded = refunded or (name == "issue_refund" and arguments.get("order_id") == order_id)
        answer = json.dumps(_answer(name, arguments), separators=(",", ":"))
        turn = f"\n<|im_start|>tool\n{answer}<|im_end|>\n<|im_start|>assistant\n"
        ids = [*ids, *completion, *tokenizer.encode(turn, add_special_tokens=False)]
    item, age = ORDERS[order_id]
    right = refunded == (age <= REFUND_DAYS[item]) and _tool_call(said) is None
    return {"rollout_id": rollout_id, "reward": float(right), "staleness": 0, "calls": calls}


@torch.no_grad()
def _sample(model: Any, prompt: list[int], end: int) -> tuple[list[int], list[float]]:
    ids, logprobs = torch.tensor([prompt]), []
    for _ in range(MAX_TOKENS):
        logp = torch.log_softmax(model(input_ids=ids).logits[0, -1].float(), -1)
        token = torch.multinomial(logp.exp(), 1)
        logprobs.append(round(logp[token].item(), 6))
        ids = torch.cat([ids, token[None]], 1)
        if token.item() == end:
            break
    return ids[0, len(prompt) :].tolist(), logprobs


def _call(ids: list[int], completion: list[int], logprobs: list[float], end: int) -> dict[str, Any]:
    return {
        "prompt_token_ids": ids,
        "completion_token_ids": completion,
        "logprobs": logprobs,
        "finish_reason": "stop" if completion[-1] == end else "length",
        "adapter_digest": "base",
        "sampling": {"temperature": 1, "top_p": 1, "top_k": 0, "min_p": 0},
    }


def _tool_call(text: str) -> tuple[str, dict[str, Any]] | None:
    begin, end = text.find("<tool_call>"), text.find("</tool_call>")
    try:
        call = json.loads(text[begin + len("<tool_call>") : end])
        return call["name"], dict(call["arguments"])
    except (ValueError, KeyError, TypeError):
        return None


def _answer(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    item, age = ORDERS.get(arguments.get("order_id", ""), ("", 0))
    if name == "refund_policy":
        asked = arguments.get("item", "")
        days = REFUND_DAYS.get(asked)
        return {"error": "unknown item"} if days is None else {"item": asked, "refund_days": days}
    if item == "":
        return {"error": "unknown order"}
    if name == "issue_refund":
        return {"order_id": arguments["order_id"], "refunded": True}
    order = {"order_id": arguments["order_id"], "item": item, "status": "delivered"}
    return {**order, "age_days": age, "refunded": False}


def _run() -> dict[str, Any]:
    return {
        "version": 1,
        "run_id": "example",
        "agent": "shop-support",
        "base_model": {"path": "../../deploy/quickstart/model", "digest": base_digest(MODEL)},
        "start_adapter": None,
        "lora": {"rank": 8, "alpha": 32, "dropout": 0, "target_modules": "all-linear"},
        "optimizer": {"lr": 1e-3, "weight_decay": 0, "clip_norm": 1, "warmup_steps": 0},
        "loss": {"kind": "cispo", "ratio_cap": 5, "clip_low": 0.2, "clip_high": 0.28, "kl_beta": 0.001},
        "advantage": {"std_floor": 0.1, "normalization": "group_std"},
        "seed": 1,
        "iterations": 1,
        "minibatches_per_batch": 2,
        "micro_batch_tokens": 4096,
        "checkpoint_every_steps": 1,
        "batch_deadline_s": 60,
        "heartbeat_interval_s": 5,
        "logprob_gate": {"max_mean_abs_delta": 0.001},
        "dtype": "float32",
        "threads": 2,
        "probe": {"min_tokens": 256},
    }


if __name__ == "__main__":
    main()
