"""From files to a stream of tokens on disk, read in an order that depends on the seed alone.

A document is BOS, its tokens and, where the model has another token for it, EOS; documents follow
one another in the order of their files' paths. Every 64th document is held out for validation
unless validation files are named.
"""

import gzip
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from errors import RecipeError
from model import ModelConfig, write_json

HELD_OUT_EVERY = 64
CURVE_TOKENS = 131_072
"""Length of the held-out stream that the validation curve is measured on."""

TEXT = (".jsonl", ".txt", ".md")


def text_files(paths: list[Path]) -> list[Path]:
    """The files named, and the .jsonl, .txt and .md files, also gzipped, in the folders named."""
    found = []
    for path in paths:
        if not path.exists():
            raise RecipeError(f"There is no file or folder {path}. Name text that exists.")
        inside = [p for p in path.rglob("*") if p.is_file() and p.name.removesuffix(".gz").endswith(TEXT)]
        found += sorted(inside) if path.is_dir() else [path]
    if not found:
        raise RecipeError(f"No .jsonl, .txt or .md file (or .gz of one) in {', '.join(map(str, paths))}. Name others.")
    return found


@dataclass(frozen=True)
class Sources:
    """Which text a run reads."""

    text: list[Path]
    valid: list[Path] | None = None
    """Held-out files; without them every 64th document of `text` is held out."""
    one_in: int = 1
    """Trains on one in so many documents of `text`: for models that differ in how much they have read."""


def read_documents(files: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """(id, text): one a line of a .jsonl file, one a file otherwise. Empty ones are left out."""
    for path in files:
        opened = gzip.open(path) if path.suffix == ".gz" else open(path, "rb")
        try:
            with io.TextIOWrapper(opened, encoding="utf-8") as lines:
                if not path.name.removesuffix(".gz").endswith(".jsonl"):
                    documents = [(str(path), lines.read())]
                else:
                    documents = (parse_line(path, number, line) for number, line in enumerate(lines, 1) if line.strip())
                yield from (document for document in documents if document[1])
        except (UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
            raise RecipeError(f"{path} cannot be read as UTF-8 text: {error}. Mend it or leave it out.") from error


def parse_line(path: Path, number: int, line: str) -> tuple[str, str]:
    try:
        document = json.loads(line)
        text = document["text"]
    except (ValueError, KeyError, TypeError) as error:
        raise RecipeError(
            f'{path}:{number} is no JSON object with a "text": {error!r}. Mend the line or leave it out.'
        ) from error
    if not isinstance(text, str):
        raise RecipeError(
            f'{path}:{number} has a "text" that is {type(text).__name__}, not a string. Mend the line or leave it out.'
        )
    return str(document.get("id", f"{path}:{number}")), text


def split(sources: Sources) -> tuple[Iterator[tuple[str, str]], Iterator[tuple[str, str]]]:
    """-> training documents, held-out documents."""
    if sources.valid:
        train, held = read_documents(sources.text), read_documents(sources.valid)
    else:
        train = (d for i, d in enumerate(read_documents(sources.text)) if i % HELD_OUT_EVERY)
        held = (d for i, d in enumerate(read_documents(sources.text)) if i % HELD_OUT_EVERY == 0)
    return islice(train, 0, None, sources.one_in), held


def encode(tokenizer: Tokenizer, config: ModelConfig, text: str) -> list[int]:
    return frame(config, tokenizer.encode(text, add_special_tokens=False).ids)


def frame(config: ModelConfig, ids: list[int]) -> list[int]:
    """Puts a document's tokens into the stream. The next document's BOS serves as its end if they are one token."""
    end = [] if config.eos_token_id == config.bos_token_id else [config.eos_token_id]
    return [config.bos_token_id, *ids, *end]


def fingerprint(sources: Sources, tokenizer: Tokenizer) -> str:
    """Changes when the files (by name and size), the share read or the tokenizer do; a resumed run must not mix two."""
    digest = hashlib.sha256(f"{tokenizer.to_str()} {sources.one_in}\n".encode())
    for path in sources.text + (sources.valid or []):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
    return digest.hexdigest()


def prepare(work: Path, sources: Sources, tokenizer: Tokenizer, config: ModelConfig) -> dict:
    """Writes train.tokens, valid.tokens and valid.jsonl into `work`, unless they are there already.

    -> what the streams hold: `documents`, `tokens`, `dtype`, `valid_documents`, `valid_tokens`, `valid_bytes`
    """
    print_of = fingerprint(sources, tokenizer)
    record = work / "data.json"
    if record.is_file() and (data := json.loads(record.read_text()))["fingerprint"] == print_of:
        return data
    dtype = "uint16" if config.vocab_size <= 65_536 else "uint32"
    train, held = split(sources)
    data = {"fingerprint": print_of, "dtype": dtype}
    data |= write_train(work, train, tokenizer, config, dtype) | write_valid(work, held, tokenizer, config, dtype)
    write_json(record, data)
    return data


def write_train(
    work: Path, train: Iterator[tuple[str, str]], tokenizer: Tokenizer, config: ModelConfig, dtype: str
) -> dict:
    documents = tokens = 0
    with open(work / "train.tokens", "wb") as out:
        while some := list(islice(train, 64)):
            for encoded in tokenizer.encode_batch_fast([text for _, text in some], add_special_tokens=False):
                ids = np.array(frame(config, encoded.ids), dtype)
                out.write(ids.tobytes())
                documents, tokens = documents + 1, tokens + len(ids)
    return {"documents": documents, "tokens": tokens}


def write_valid(
    work: Path, held: Iterator[tuple[str, str]], tokenizer: Tokenizer, config: ModelConfig, dtype: str
) -> dict:
    """All held-out documents for the final evaluation; the first CURVE_TOKENS tokens for the curve."""
    documents = tokens = length = 0
    with open(work / "valid.tokens", "wb") as out, open(work / "valid.jsonl", "w", encoding="utf-8") as lines:
        for name, text in held:
            lines.write(json.dumps({"id": name, "text": text}, ensure_ascii=False) + "\n")
            documents += 1
            if tokens >= CURVE_TOKENS:
                continue
            # One book must not be the whole curve: a token is rarely over eight characters.
            part = text[: 8 * (CURVE_TOKENS - tokens)]
            ids = encode(tokenizer, config, part)
            out.write(np.array(ids, dtype).tobytes())
            tokens, length = tokens + len(ids), length + len(part.encode())
    return {"valid_documents": documents, "valid_tokens": tokens, "valid_bytes": length}


class Blocks:
    """The training stream cut into blocks of equal length, shuffled anew for every pass over it."""

    def __init__(self, tokens: np.ndarray, length: int, seed: int):
        self.tokens, self.length, self.seed = tokens, length, seed
        self.count = (len(tokens) - 1) // length
        if self.count < 1:
            raise RecipeError(
                f"The training text has {len(tokens)} tokens, but a block needs {length + 1}. Give more text."
            )
        self.epoch, self.order = -1, np.empty(0, np.int64)

    def read(self, first: int, count: int) -> Tensor:
        """(count, length + 1) tokens of the blocks number `first` and on; the last column is only a target."""
        rows = [
            self.tokens[start : start + self.length + 1] for start in map(self.start_of, range(first, first + count))
        ]
        return torch.from_numpy(np.stack(rows).astype(np.int64))

    def start_of(self, number: int) -> int:
        epoch, place = divmod(number, self.count)
        if epoch != self.epoch:
            self.epoch, self.order = epoch, np.random.default_rng([self.seed, epoch]).permutation(self.count)
        return int(self.order[place]) * self.length


def read_tokens(path: Path, dtype: str) -> np.ndarray:
    if path.stat().st_size == 0:
        return np.empty(0, dtype)
    return np.memmap(path, dtype=dtype, mode="r")


def as_windows(blocks: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """(n, length + 1) blocks -> inputs and targets, each (n · length / window, window)."""
    inputs, targets = blocks[:, :-1], blocks[:, 1:]
    return inputs.reshape(-1, window), targets.reshape(-1, window)
