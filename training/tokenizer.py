"""Byte-level BPE (Sennrich et al. 2016; bytes as in GPT-2): any text is representable, nothing is unknown.

Words are cut as GPT-2 cuts them, with one change: every digit is its own piece. Numbers then have
one spelling instead of whichever groups of digits happened to be frequent.
"""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from errors import RecipeError
from model import write_json

END_OF_TEXT = "<|endoftext|>"
"""Token 0, before and between documents: beginning and end of a document in one."""

# Contractions | a word with its leading space | ONE digit with its leading space | other signs | spaces.
PIECES = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    if vocab_size < 257:
        raise RecipeError(
            f"The vocabulary has {vocab_size} tokens, but 256 bytes and {END_OF_TEXT} need 257. Use a larger one."
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() < vocab_size:
        raise RecipeError(
            f"The text gave only {tokenizer.get_vocab_size()} tokens, fewer than the {vocab_size} wanted. "
            "Give more text or a smaller --vocab."
        )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path, context: int) -> None:
    """tokenizer.json and tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": END_OF_TEXT,
            "eos_token": END_OF_TEXT,
            "unk_token": None,
            "model_max_length": context,
            "add_bos_token": True,
            "add_eos_token": False,
            "clean_up_tokenization_spaces": False,
        },
    )


def load_tokenizer(folder: Path) -> Tokenizer:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise RecipeError(f"{folder} has no tokenizer.json. Name a model folder.")
    return Tokenizer.from_file(str(path))
