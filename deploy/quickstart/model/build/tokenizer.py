"""Trains the tiny model's tokenizer on demonstrations and writes it beside the model: `python tokenizer.py`.

Every digit is a token of its own, so that the model can copy an order id digit by digit; a word (with its
underscores, so a tool's name too) is never merged with its neighbours. The `<tool_call>` tags are ordinary
added tokens: a server strips *special* tokens from the text before its tool-call parser sees them.
"""

import json
from pathlib import Path

from prompt import MODEL, Lessons, shop_lessons
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 640
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TAGS = ["<tool_call>", "</tool_call>"]
PIECE = r"\d|\n| ?[A-Za-z_]+| ?[^\sA-Za-z\d_]+|\s"


def build_tokenizer(texts: list[str]) -> Tokenizer:
    """A byte-level BPE over `texts`; any text can be encoded, also with characters that were never seen."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECE), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(TAGS),
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    return tokenizer


def load_tokenizer(model: Path = MODEL) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(model)


def write_tokenizer(model: Path, lessons: Lessons) -> PreTrainedTokenizerFast:
    """Trains the tokenizer of `model`, whose directory has its chat template."""
    template = (model / "chat_template.jinja").read_text()
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 1024,
        "clean_up_tokenization_spaces": False,
    }
    (model / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    blank = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), chat_template=template)
    texts = [
        # The prompt is in every training text of the second phase; a few copies keep its words whole.
        blank.apply_chat_template(
            ([{"role": "system", "content": lessons.prompt}] if index % 3 == 0 else [])
            + demonstration["messages"],
            tools=lessons.tools if index % 3 == 0 else None,
            tokenize=False,
        )
        for index, demonstration in enumerate(lessons.demonstrations(3, 3000, "noisy"))
    ]
    build_tokenizer([str(text) for text in texts]).save(str(model / "tokenizer.json"))
    return load_tokenizer(model)


def main() -> None:
    lessons = shop_lessons()
    tokenizer = write_tokenizer(MODEL, lessons)
    head = [{"role": "system", "content": lessons.prompt}]
    system = tokenizer.apply_chat_template(head, tools=lessons.tools)["input_ids"]
    print(f"vocabulary {len(tokenizer)}, system block {len(system)} tokens")


if __name__ == "__main__":
    main()
