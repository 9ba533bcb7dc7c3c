"""Perplexity of a model folder on documents: training/evaluate.py MODEL TEXT... [--each] [--window W] [--stride S]

The protocol is that of `knnlm eval`: a document is read as BOS + text and must also predict its end;
windows of W positions start S apart, and a target counts once, in the first window that reaches it.
"""

import argparse
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer

from data import read_documents, text_files
from device import Device, choose_device
from errors import RecipeError, run_command
from model import LanguageModel
from tokenizer import load_tokenizer


def windows(length: int, window: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """(start, first counted position, end) over `length` positions; every position is counted once."""
    start = done = 0
    while done < length:
        end = min(start + window, length)
        yield start, done, end
        start, done = start + stride, end


@torch.no_grad()
def document_nats(model: LanguageModel, ids: list[int], window: int, stride: int, device: Device) -> float:
    """Sum over all targets of one document, in nats, always in fp32."""
    config = model.config
    inputs, targets = torch.tensor([config.bos_token_id, *ids]), torch.tensor([*ids, config.eos_token_id])
    nats = 0.0
    for start, first, end in windows(len(inputs), window, stride):
        logits, _ = model(inputs[None, start:end].to(device.name))
        counted = logits[0, first - start :].log_softmax(-1)
        nats -= counted.gather(1, targets[first:end, None].to(device.name)).double().sum().item()
    return nats


def evaluate(
    model: LanguageModel,
    tokenizer: Tokenizer,
    documents: Iterable[tuple[str, str]],
    device: Device,
    window: int | None = None,
    stride: int | None = None,
) -> dict:
    """-> documents, tokens, bytes, nll (nats, summed), perplexity (per token), bitsPerByte"""
    context = model.config.max_position_embeddings
    window = window or context
    stride = stride or window // 2
    if not 1 <= stride <= window <= context:
        raise RecipeError(
            f"Window {window} and stride {stride} do not fit a context of {context}. Need 1 <= stride <= window <= "
            "context."
        )
    count = tokens = length = 0
    nll = 0.0
    model.eval().to(device.name)
    for _, text in documents:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        nll += document_nats(model, ids, window, stride, device)
        count, tokens, length = count + 1, tokens + len(ids) + 1, length + len(text.encode())
    if not count:
        raise RecipeError("The text holds no document. Name other files.")
    return {
        "documents": count,
        "tokens": tokens,
        "bytes": length,
        "nll": nll,
        "perplexity": math.exp(nll / tokens),
        "bitsPerByte": nll / math.log(2) / length,
    }


def evaluate_each(
    model: LanguageModel, tokenizer: Tokenizer, paths: Iterable[Path], device: Device, **spacing
) -> Iterator[dict]:
    """Of `evaluate`, for each file or folder, with its name as `text`."""
    for path in paths:
        documents = read_documents(text_files([path]))
        name = path.name.removesuffix(".gz").removesuffix(".jsonl")
        yield {"text": name, **evaluate(model, tokenizer, documents, device, **spacing)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="folder with config.json, tokenizer.json, model.safetensors")
    parser.add_argument("text", type=Path, nargs="+", help=".jsonl, .txt or .md files, also .gz, or folders of them")
    parser.add_argument("--each", action="store_true", help="a line for each TEXT instead of one for all")
    parser.add_argument("--window", type=int, help="positions read at once (default: the model's context)")
    parser.add_argument("--stride", type=int, help="positions between windows (default: half a window)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--threads", type=int, help="threads of PyTorch (default: its own choice)")
    args = parser.parse_args()
    device = choose_device(args.device, args.threads, precision="fp32")
    model, tokenizer = LanguageModel.load(args.model), load_tokenizer(args.model)
    spacing = {"window": args.window, "stride": args.stride}
    if not args.each:
        documents = read_documents(text_files(args.text))
        print(json.dumps(evaluate(model, tokenizer, documents, device, **spacing)))
        return
    for result in evaluate_each(model, tokenizer, args.text, device, **spacing):
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    run_command(main)
