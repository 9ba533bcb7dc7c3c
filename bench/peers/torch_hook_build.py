"""How fast does PyTorch build a kNN-LM datastore the way its Python implementations do?

They run a transformers model over the text and catch the keys with a forward hook on the last
block's feed-forward network; the logits are computed too, because the whole model runs. Keys go to
disk as fp16, values as integers, both memory-mapped NumPy arrays.

    python bench/peers/torch_hook_build.py --model FOLDER --text FILE.jsonl(.gz) --documents N
        [--window 512] [--stride 256] [--batch 8] [--threads 2] [--variants full,body]
        [--repeats 1] [--out FOLDER] [--json]

`full` is the peers' way: the whole model, logits included. `body` leaves out the output embedding,
which no peer does; it shows what that costs. Documents are cut into windows as `knnlm build` cuts
them, so that both sides store the same entries. Timed are the windows' forward passes and the writing;
loading and tokenizing are reported beside it. The last line of standard output is JSON.
"""

import argparse
import gzip
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, PreTrainedModel


@dataclass(frozen=True)
class Window:
    inputs: list[int]
    targets: list[int]
    """Of the last len(targets) inputs; those before were stored by an earlier window."""


class KeyTap:
    """Catches the input of the last block's feed-forward network, after its norm."""

    def __init__(self, model: PreTrainedModel):
        self.caught: torch.Tensor | None = None
        feed_forward = model.model.layers[-1].mlp
        self.hook = feed_forward.register_forward_pre_hook(self.catch)

    def catch(self, _module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.caught = inputs[0].detach()

    def remove(self) -> None:
        self.hook.remove()


def read_documents(path: Path, count: int | None) -> list[str]:
    opened = gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8")
    with opened as lines:
        texts = [json.loads(line)["text"] for line in islice(lines, count)]
    if not texts:
        sys.exit(f"error: {path} holds no document. Name another file.")
    return texts


def windows(ids: list[int], bos: int, eos: int, window: int, stride: int) -> Iterator[Window]:
    """A document is read as BOS + ids and gives the targets ids + EOS, each once."""
    inputs, targets = [bos, *ids], [*ids, eos]
    start = done = 0
    while done < len(inputs):
        end = min(start + window, len(inputs))
        yield Window(inputs[start:end], targets[done:end])
        start, done = start + stride, end


@torch.no_grad()
def build(model: PreTrainedModel, parts: list[Window], batch: int, logits: bool, folder: Path) -> dict:
    """Writes keys.f16 (n, d) and values.i32 (n) into `folder`. -> seconds and what was written"""
    count, width = sum(len(part.targets) for part in parts), model.config.hidden_size
    tap, runner = KeyTap(model), model if logits else model.model
    began = time.perf_counter()
    keys = np.memmap(folder / "keys.f16", np.float16, "w+", shape=(count, width))
    values = np.memmap(folder / "values.i32", np.int32, "w+", shape=(count,))
    written = 0
    for i in range(0, len(parts), batch):
        group = parts[i : i + batch]
        longest = max(len(part.inputs) for part in group)
        ids = torch.zeros(len(group), longest, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, part in enumerate(group):
            ids[row, : len(part.inputs)] = torch.tensor(part.inputs)
            mask[row, : len(part.inputs)] = 1
        runner(input_ids=ids, attention_mask=mask, use_cache=False)
        for row, part in enumerate(group):
            end, fresh = len(part.inputs), len(part.targets)
            keys[written : written + fresh] = tap.caught[row, end - fresh : end].to(torch.float16).numpy()
            values[written : written + fresh] = part.targets
            written += fresh
    keys.flush()
    values.flush()
    seconds = time.perf_counter() - began
    tap.remove()
    return {
        "seconds": seconds,
        "entries": written,
        "entriesPerSecond": written / seconds,
        "keyAbsSum": float(np.abs(keys.astype(np.float64)).sum()),
        "valueSum": int(values.sum(dtype=np.int64)),
    }


def measure(model: PreTrainedModel, parts: list[Window], args: argparse.Namespace, folder: Path) -> dict:
    """Each variant `repeats` times in turn (A B A B), medians."""
    runs: dict[str, list[dict]] = {name: [] for name in args.variants}
    # A few windows first: the first pass through a model pays for its memory.
    build(model, parts[: args.batch], args.batch, True, folder)
    for _ in range(args.repeats):
        for name in args.variants:
            runs[name].append(build(model, parts, args.batch, name == "full", folder))
    return {
        name: several[0]
        | {
            "seconds": statistics.median(run["seconds"] for run in several),
            "entriesPerSecond": statistics.median(run["entriesPerSecond"] for run in several),
            "allSeconds": [round(run["seconds"], 3) for run in several],
        }
        for name, several in runs.items()
    }


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    began = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    loaded = time.perf_counter()
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    texts = read_documents(args.text, args.documents)
    bos, eos = model.config.bos_token_id, model.config.eos_token_id
    parts = [
        part
        for text in texts
        for part in windows(tokenizer.encode(text, add_special_tokens=False).ids, bos, eos, args.window, args.stride)
    ]
    cut = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        results = measure(model, parts, args, folder)
    first = results[args.variants[0]]
    report = {
        "what": "torch-hook-build",
        "variant": args.variants[0],
        "entriesPerSecond": first["entriesPerSecond"],
        "seconds": first["seconds"],
        "entries": first["entries"],
        "keyDim": model.config.hidden_size,
        "documents": len(texts),
        "windows": len(parts),
        "window": args.window,
        "stride": args.stride,
        "batch": args.batch,
        "threads": args.threads,
        "loadSeconds": loaded - began,
        "tokenizeSeconds": cut - loaded,
        "variants": results,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    if not args.json:
        for name, result in results.items():
            print(
                f"{name}: {result['entries']:,} entries in {result['seconds']:.2f} s, "
                f"{result['entriesPerSecond']:,.0f} entries/s"
            )
    print(json.dumps(report))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add(
        "--model",
        type=Path,
        required=True,
        help="folder with config.json, model.safetensors, tokenizer.json (LLaMA-like)",
    )
    add("--text", type=Path, required=True, help='.jsonl or .jsonl.gz with a "text" on every line')
    add("--documents", type=int, help="first N documents (default: all)")
    add("--window", type=int, default=512, help="positions read at once (default: 512)")
    add("--stride", type=int, default=256, help="positions between windows (default: 256)")
    add("--batch", type=int, default=8, help="windows in one forward pass (default: 8)")
    add("--threads", type=int, default=2, help="threads of PyTorch (default: 2)")
    add("--variants", default="full,body", help="full, body or both; the first is the headline (default: full,body)")
    add("--repeats", type=int, default=1, help="times each variant runs, in turn; medians are reported (default: 1)")
    add("--out", type=Path, help="keep keys.f16 and values.i32 in this folder")
    add("--json", action="store_true", help="print the JSON line only")
    args = parser.parse_args()
    args.variants = args.variants.split(",")
    for name in args.variants:
        if name not in ("full", "body"):
            parser.error(f"--variants has {name!r}, but full and body are known")
    for name in ("documents", "window", "stride", "batch", "threads", "repeats"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name} is {getattr(args, name)}, but must be at least 1")
    if args.stride > args.window:
        parser.error(f"--stride {args.stride} is above --window {args.window}: positions between would be skipped")
    for path in (args.model / "model.safetensors", args.text):
        if not path.exists():
            parser.error(f"there is no {path}")
    return args


if __name__ == "__main__":
    main()
