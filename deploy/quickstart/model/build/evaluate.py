"""Serves fresh customers with the tiny model in the real shop: `python evaluate.py --temperatures 1 0.6`.

Prints success with its standard error, by slice too, and the share of valid tool calls. With `--members 8`
every contact is served eight times, and the share of contacts with mixed outcomes is printed, too.
"""

import argparse
import hashlib
import json
import math
import re
import subprocess
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from prompt import MODEL, NODE, production_prompt
from train import BATCH, PHASES, SEED
from transformers import DynamicCache, PreTrainedTokenizerFast, Qwen3ForCausalLM

MAX_MODEL_CALLS = 6
MAX_NEW_TOKENS = 64
CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


@dataclass
class Episode:
    contact: dict[str, Any]
    messages: list[dict[str, Any]]
    done: bool = False
    success: bool = False
    calls: int = 0
    invalid_calls: int = 0
    sampled_tokens: int = 0


class Bridge:
    """The shop process."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("bridge.ts")
        self.process = subprocess.Popen(
            [NODE, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **request: Any) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


@torch.inference_mode()
def complete(
    model: Qwen3ForCausalLM, prompts: list[list[int]], temperature: float, eos: int, pad: int
) -> list[list[int]]:
    """Samples one completion per prompt, end token included; temperature 0 is greedy."""
    longest = max(map(len, prompts))
    ids_BT = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask_BT = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    positions_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    completions: list[list[int]] = [[] for _ in prompts]
    alive = [True] * len(prompts)
    for _ in range(MAX_NEW_TOKENS):
        output = model(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            position_ids=positions_BT,
            past_key_values=cache,
            logits_to_keep=1,
        )
        logits_BV = output.logits[:, -1].float()
        if temperature == 0:
            next_B = logits_BV.argmax(-1)
        else:
            next_B = torch.multinomial((logits_BV / temperature).softmax(-1), 1)[:, 0]
        for row, token in enumerate(next_B.tolist()):
            if alive[row]:
                completions[row].append(token)
                alive[row] = token != eos
        if not any(alive):
            break
        ids_BT = next_B[:, None]
        mask_BT = torch.cat([mask_BT, torch.ones(len(prompts), 1, dtype=mask_BT.dtype)], dim=1)
        positions_BT = positions_BT[:, -1:] + 1
    return completions


def parse(text: str) -> tuple[str, list[dict[str, Any]] | None]:
    """The text before the first call and the calls; None where a call is no valid one."""
    blocks = CALL.findall(text)
    if not blocks:
        return text, None if "tool_call>" in text else []
    try:
        calls = [json.loads(block) for block in blocks]
    except json.JSONDecodeError:
        return text, None
    if not all(is_call(call) for call in calls):
        return text, None
    return text.split("<tool_call>", 1)[0], calls


def is_call(parsed: Any) -> bool:
    return isinstance(parsed, dict) and isinstance(parsed.get("arguments"), dict) and "name" in parsed


def play(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    bridge: Bridge,
    temperature: float,
    start: dict[str, int],
) -> list[Episode]:
    prompt, tools = production_prompt()
    contacts = bridge.ask(start=start)
    system = {"role": "system", "content": prompt}
    episodes = [
        Episode(contact, [system, {"role": "user", "content": contact["message"]}]) for contact in contacts
    ]
    for _ in range(MAX_MODEL_CALLS):
        live = [index for index, episode in enumerate(episodes) if not episode.done]
        if not live:
            break
        prompts: list[Any] = [
            tokenizer.apply_chat_template(
                episodes[index].messages, tools=tools, add_generation_prompt=True, return_dict=False
            )
            for index in live
        ]
        eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
        completions = []
        for at in range(0, len(prompts), 200):
            completions += complete(model, prompts[at : at + 200], temperature, eos, pad)
        requests = []
        for index, ids in zip(live, completions, strict=True):
            episode = episodes[index]
            episode.sampled_tokens += len(ids)
            content, calls = parse(tokenizer.decode(ids, skip_special_tokens=True))
            if calls is None:
                episode.calls += 1
                episode.invalid_calls += 1
            elif calls:
                episode.calls += len(calls)
                requests += [(index, call) for call in calls]
            episode.done = not calls
            tool_calls = [{"type": "function", "function": call} for call in calls or []]
            message = {"role": "assistant", "content": content, "tool_calls": tool_calls}
            episode.messages.append(message if calls else {"role": "assistant", "content": content})
        asked = [{"episode": i, "tool": str(call["name"]), "args": call["arguments"]} for i, call in requests]
        for (index, _), text in zip(requests, bridge.ask(calls=asked), strict=True):
            episodes[index].messages.append({"role": "tool", "content": text})
    replies = [
        {"episode": index, "reply": episode.messages[-1]["content"] if episode.done else ""}
        for index, episode in enumerate(episodes)
    ]
    for episode, success in zip(episodes, bridge.ask(outcomes=replies), strict=True):
        episode.success = success
    return episodes


def report(episodes: list[Episode], members: int) -> dict[str, Any]:
    slices: dict[str, list[bool]] = defaultdict(list)
    groups: dict[str, list[bool]] = defaultdict(list)
    for episode in episodes:
        contact = episode.contact
        slices["all"].append(episode.success)
        slices[f"{contact['kind']} {contact['tone']}"].append(episode.success)
        groups[contact["contactId"]].append(episode.success)
    calls = sum(episode.calls for episode in episodes)
    everyone = slices["all"]
    mean = sum(everyone) / len(everyone)
    figures: dict[str, Any] = {
        "episodes": len(episodes),
        "success": round(mean, 3),
        "standard_error": round(math.sqrt(mean * (1 - mean) / len(everyone)), 3),
        "by_slice": {name: [round(sum(won) / len(won), 3), len(won)] for name, won in sorted(slices.items())},
        "valid_calls": round(1 - sum(episode.invalid_calls for episode in episodes) / max(1, calls), 4),
        "sampled_tokens": round(sum(episode.sampled_tokens for episode in episodes) / len(episodes), 1),
    }
    if members > 1:
        mixed = [0 < sum(won) < len(won) for won in groups.values()]
        figures["mixed_groups"] = round(sum(mixed) / len(mixed), 3)
    return figures


def write_provenance(seed: int, figures: list[dict[str, Any]]) -> None:
    """How the shipped weights were made and what they can do, beside them."""
    weights = (MODEL / "model.safetensors").read_bytes()
    provenance = {
        "license": "Apache-2.0",
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "seed": SEED,
        "batch": BATCH,
        "phases": [asdict(phase) for phase in PHASES],
        "evaluation_seed": seed,
        "evaluation": figures,
    }
    (MODEL / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1.0, 0.6])
    parser.add_argument("--customers", type=int, default=220)
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--provenance", action="store_true", help="writes the figures into provenance.json")
    parser.add_argument(
        "--transcripts", type=Path, help="writes every conversation with its outcome as JSON lines"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(MODEL)
    model = Qwen3ForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
    bridge = Bridge()
    figures: list[dict[str, Any]] = []
    for temperature in arguments.temperatures:
        start = {"seed": arguments.seed, "customers": arguments.customers, "members": arguments.members}
        episodes = play(model, tokenizer, bridge, temperature, start)
        figures.append({"temperature": temperature} | report(episodes, arguments.members))
        print(json.dumps(figures[-1]), flush=True)
        if arguments.transcripts:
            with arguments.transcripts.open("a") as file:
                for episode in episodes:
                    contact, messages = episode.contact, episode.messages
                    file.write(
                        json.dumps({"contact": contact, "messages": messages, "success": episode.success})
                        + "\n"
                    )
    bridge.close()
    if arguments.provenance:
        write_provenance(arguments.seed, figures)


if __name__ == "__main__":
    main()
