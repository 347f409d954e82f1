"""`python -m tests.tiny_model DIR`: a tiny Qwen3 with its own tokenizer, template and adapters, for tests.

Writes DIR/model, DIR/adapters/{good,other,noop,wide,foreign,misnamed,truncated} and, last, DIR/manifest.json
(their paths). The same bytes every time. The model has learnt three answers by heart: a tool call when there
are tools, a sentence after an answer of a tool, and a greeting; at temperature 1.5 and above it rambles.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

TEMPLATE = (
    "{%- if messages[0].role == 'system' or tools %}<|im_start|>system\n"
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}\n{% endif %}"
    "{%- if tools %}<tools>\n{% for tool in tools %}"
    '{"name": {{ tool.function.name | tojson }}, "parameters": {{ tool.function.parameters | tojson }}}'
    "\n{% endfor %}</tools>"
    "{% endif %}"
    "<|im_end|>\n{% endif %}"
    "{%- for message in messages if message.role != 'system' %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}"
    "{%- for call in message.tool_calls or [] %}<tool_call>"
    '{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}'
    "</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LOOKUP = {"name": "lookup_order", "arguments": {"order_id": "A1234"}}
TOOLS = [{"type": "function", "function": {"name": "lookup_order", "parameters": {"order_id": "string"}}}]
CORPUS = [
    "You are the support agent of a small shop. Look up orders before you answer.",
    'The order A1234 was delivered 12 days ago. {"name": "lookup_order", "arguments": {"order_id": "A1234"}}',
    "I would like a refund for my kettle, please. It broke after a week and I am not happy with it at all.",
    '{"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}',
    '{"status": "delivered", "days": 12, "item": "kettle", "window": 30, "refunded": false}',
    "Schöne Grüße aus Köln, naïve café, привет, 你好 🙂",
]


def main(directory: Path) -> None:
    """Writes everything under `directory`; the manifest last."""
    tokenizer = write_tokenizer(directory / "model")
    base = tiny(len(tokenizer), seed=1)
    _teach(base, tokenizer)
    base.save_pretrained(directory / "model")
    adapters = directory / "adapters"
    write_adapter(base, adapters / "good", rank=4, scale=0.15, seed=2)
    write_adapter(base, adapters / "other", rank=8, scale=0.15, seed=3)
    write_adapter(base, adapters / "noop", rank=4, scale=0.0, seed=4)
    write_adapter(base, adapters / "wide", rank=96, scale=0.05, seed=5)
    write_adapter(tiny(len(tokenizer), seed=6, hidden=48), adapters / "foreign", rank=4, scale=0.1, seed=7)
    write_adapter(base, adapters / "misnamed", rank=4, scale=0.15, seed=8)
    _rename_tensors(adapters / "misnamed" / "adapter_model.safetensors")
    shutil.copytree(adapters / "good", adapters / "truncated", dirs_exist_ok=True)
    cut = adapters / "truncated" / "adapter_model.safetensors"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    paths = {path.name: str(path) for path in sorted(adapters.iterdir())}
    manifest = {"model": str(directory / "model"), "adapters": paths}
    (directory / "manifest.json").write_text(json.dumps(manifest, indent=2))


def write_tokenizer(directory: Path) -> PreTrainedTokenizerFast:
    """A byte-level BPE: any text round-trips; each digit is a token; tool tags are ordinary added tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d| ?[A-Za-z_]+|\s+|[^\sA-Za-z_\d]+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken(tag, special=False) for tag in ("<tool_call>", "</tool_call>")])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=TEMPLATE
    )
    fast.save_pretrained(directory)
    return fast


def tiny(vocab: int, seed: int, hidden: int = 64) -> Qwen3ForCausalLM:
    """Two layers; weights large enough that what comes before decides what comes next."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,  # the smallest that vLLM serves on the CPU
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        initializer_range=0.1,
        eos_token_id=[vocab - 3],
        pad_token_id=vocab - 5,
        bos_token_id=None,
    )
    return Qwen3ForCausalLM(config).eval()


def _teach(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """A few steps on three conversations, the answers only."""
    user = {"role": "user", "content": "Where is my order A1234?"}
    called = {"role": "assistant", "content": "", "tool_calls": [{"function": LOOKUP}]}
    answered = {"role": "tool", "content": '{"status": "delivered"}'}
    call = f"<tool_call>{json.dumps(LOOKUP)}</tool_call>"
    lessons = [
        ([user], TOOLS, call),
        ([user, called, answered], TOOLS, "It was delivered. Grüße 🙂"),
        ([user], None, "Hi!"),
    ]
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        for messages, tools, answer in lessons:
            prompt = tokenizer.apply_chat_template(
                messages, tools=tools, tokenize=False, add_generation_prompt=True
            )
            assert isinstance(prompt, str)
            start = len(tokenizer.encode(prompt))
            ids = torch.tensor([tokenizer.encode(prompt + answer + "<|im_end|>")])
            labels = ids.clone()
            labels[:, :start] = -100
            loss = model(input_ids=ids, labels=labels).loss
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()


def write_adapter(base: Qwen3ForCausalLM, directory: Path, rank: int, scale: float, seed: int) -> None:
    """A PEFT adapter directory with random A and B; scale 0 leaves B at zero (an adapter without effect)."""
    torch.manual_seed(seed)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    wrapped = get_peft_model(type(base)(base.config), config)
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, scale) if scale else parameter.data.zero_()
    wrapped.save_pretrained(str(directory))
    config_file = directory / "adapter_config.json"
    config_file.write_text(
        json.dumps({**json.loads(config_file.read_text()), "base_model_name_or_path": "tiny"})
    )


def _rename_tensors(file: Path) -> None:
    renamed = {
        name.replace("model.layers", "language_model.layers"): t for name, t in load_file(file).items()
    }
    save_file(renamed, file)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
