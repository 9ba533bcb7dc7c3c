"""From raw text to a model folder that knnlm (and any ONNX runtime) reads, in one command:

    python training/run.py --text DOCS... --out models/my-mini [--preset wiki-mini] [--minutes N] [--resume]
    python training/run.py --smoke        # the same on the repository's own text, about a minute on two cores

Steps, each in a file of its own: tokenizer.py, data.py, train.py, export.py, parity.py, evaluate.py, card.py.
"""

import argparse
import itertools
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy
import onnx
import onnxruntime
import tokenizers
import torch
from tokenizers import Tokenizer

from arguments import choose_preset, parse_arguments
from card import write_card
from data import Sources, prepare, read_documents, read_tokens, split, text_files
from device import Device, choose_device
from errors import RecipeError, run_command
from evaluate import evaluate, evaluate_each
from export import export
from model import LanguageModel, ModelConfig
from parity import check_parity, compare_interface
from presets import Preset
from tokenizer import END_OF_TEXT, load_tokenizer, save_tokenizer, train_tokenizer
from train import Run, train

EVALUATED_CHARACTERS = 1_000_000
"""Held-out text in the model card; some 250,000 tokens, under two minutes on two cores for wiki-mini."""


def main() -> None:
    args = parse_arguments()
    preset = choose_preset(args)
    device = choose_device(args.device, args.threads, args.precision, args.compile)
    sources = Sources(text_files(args.text), text_files(args.valid) if args.valid else None, args.one_in)
    work = args.work or args.out / ".training"
    refuse_overwriting(args, work)
    work.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(preset.seed)
    tokenizer, model = start(args, preset, sources)
    preset = fit(preset, model.config)
    data = prepare(work, sources, tokenizer, model.config)
    check_data(data)
    say(
        f"{data['documents']:,} documents, {data['tokens']:,} tokens; held out {data['valid_documents']:,} documents; "
        f"{device.name}, {'bf16' if device.bf16 else 'fp32'} matrix products, {torch.get_num_threads()} threads"
    )

    run = Run(
        preset=preset,
        device=device,
        work=work,
        minutes=args.minutes,
        stop_after=args.stop_after,
        resume=args.resume,
        fingerprint=data["fingerprint"],
        log=say,
    )
    tokens, held = read_tokens(work / "train.tokens", data["dtype"]), read_tokens(work / "valid.tokens", data["dtype"])
    end = train(model, tokens, held, data["valid_bytes"], run)
    if end is None:
        return
    facts = finish(args, model, tokenizer, device, work)
    facts |= {"data": data, "progress": vars(end)}
    write_card(args.out, model, preset, end, facts)
    print(
        json.dumps(
            {
                "out": str(args.out),
                "tokens": end.tokens,
                "seconds": round(end.seconds, 1),
                "parity": facts["parity"],
                "evaluation": facts["evaluation"],
                "evaluations": facts["evaluations"],
            }
        )
    )


def start(args: argparse.Namespace, preset: Preset, sources: Sources) -> tuple[Tokenizer, LanguageModel]:
    """Another folder's with --init-from; the interrupted run's tokenizer with --resume; else new ones."""
    if args.init_from:
        model, tokenizer = LanguageModel.load(args.init_from), load_tokenizer(args.init_from)
        if tokenizer.get_vocab_size() > model.config.vocab_size:
            raise RecipeError(
                f"{args.init_from} has {tokenizer.get_vocab_size()} tokens, but its model knows "
                f"{model.config.vocab_size}. Name a folder whose files belong together."
            )
        copy_tokenizer(args.init_from, args.out)
        return tokenizer, model
    if args.tokenizer_from:
        tokenizer = load_tokenizer(args.tokenizer_from)
        copy_tokenizer(args.tokenizer_from, args.out)
        if tokenizer.token_to_id(END_OF_TEXT) != preset.model.bos_token_id:
            raise RecipeError(
                f"The tokenizer of {args.tokenizer_from} has no {END_OF_TEXT} as token 0. Name a tokenizer this "
                "recipe made."
            )
        return tokenizer, LanguageModel(replace(preset.model, vocab_size=tokenizer.get_vocab_size()))
    if args.resume and (args.out / "tokenizer.json").is_file():
        return load_tokenizer(args.out), LanguageModel(preset.model)
    say(f"training a tokenizer of {preset.model.vocab_size:,}")
    tokenizer = train_tokenizer(sample(sources, args.tokenizer_megabytes), preset.model.vocab_size)
    save_tokenizer(tokenizer, args.out, preset.model.max_position_embeddings)
    return tokenizer, LanguageModel(preset.model)


def copy_tokenizer(source: Path, out: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)


def sample(sources: Sources, megabytes: float):
    """The first megabytes of training text: BPE keeps every distinct word in memory; more text hardly changes it."""
    left = megabytes * 1e6
    for _, document in split(sources)[0]:
        yield document
        left -= len(document)
        if left <= 0:
            return


def finish(args: argparse.Namespace, model: LanguageModel, tokenizer: Tokenizer, device: Device, work: Path) -> dict:
    """Saves, exports, checks and evaluates. -> the card's facts."""
    model.cpu()
    path = export(model, args.out, args.weights)
    model.save(args.out)
    # What is checked is what is on disk, not what happens to be in memory.
    parity = check_parity(LanguageModel.load(args.out), path)
    say(f"exported {path}; largest difference of a logit from PyTorch {max(parity.values()):.1e}")
    if args.reference:
        compare_interface(path, args.reference / "onnx" / "model.onnx")
    exact = replace(device, bf16=False)
    evaluation = evaluate(model, tokenizer, some_documents(work / "valid.jsonl"), exact)
    say(f"held out {evaluation['bitsPerByte']:.4f} bits per byte, perplexity {evaluation['perplexity']:.2f}")
    cpu = f"CPU, PyTorch threads: {torch.get_num_threads()}"
    return {
        "device": torch.cuda.get_device_name() if device.name == "cuda" else cpu,
        "precision": "bf16" if device.bf16 else "fp32",
        "compiled": device.compiled,
        "minutes": args.minutes,
        "one_in": args.one_in,
        "started_from": args.init_from.name if args.init_from else None,
        "parity": parity,
        "evaluation": evaluation,
        "evaluations": list(evaluate_each(model, tokenizer, args.evaluate or [], exact)),
        "weights": args.weights,
        "license": args.license,
        "text_license": args.text_license,
        "curve": [json.loads(line) for line in (work / "curve.jsonl").read_text().splitlines()],
        "versions": {m.__name__: m.__version__ for m in (torch, tokenizers, numpy, onnx, onnxruntime)},
    }


def some_documents(path: Path):
    """Whole held-out documents up to EVALUATED_CHARACTERS, but always one."""
    lengths = itertools.accumulate(len(text) for _, text in read_documents([path]))
    for (name, text), length in zip(read_documents([path]), lengths):
        if length > EVALUATED_CHARACTERS and length > len(text):
            return
        yield name, text


def fit(preset: Preset, config: ModelConfig) -> Preset:
    """The preset with the model really trained, which --init-from may have brought: windows must divide its context."""
    context = config.max_position_embeddings
    short = preset.short_window if context % preset.short_window == 0 else context
    return replace(preset, model=config, short_window=short, tokens_per_step=max(preset.tokens_per_step, context))


def refuse_overwriting(args: argparse.Namespace, work: Path) -> None:
    if args.resume and not (work / "checkpoint.pt").is_file():
        raise RecipeError(f"There is no checkpoint {work / 'checkpoint.pt'} to resume from. Start without --resume.")
    present = {path.name for path in args.out.iterdir()} if args.out.exists() else set()
    # A run that ended before its first checkpoint leaves these; they are made again.
    unfinished = {"tokenizer.json", "tokenizer_config.json", work.name}
    if not (args.resume or args.overwrite) and (present - unfinished or (work / "checkpoint.pt").exists()):
        raise RecipeError(f"{args.out} is not empty. Go on with --resume, or choose another --out.")
    if args.init_from and args.out.resolve() == args.init_from.resolve():
        raise RecipeError(f"--init-from and --out are both {args.out}. Choose another --out.")
    args.out.mkdir(parents=True, exist_ok=True)


def check_data(data: dict) -> None:
    if not data["documents"] or data["valid_tokens"] < 2:
        raise RecipeError(
            f"The text has {data['documents']} documents to train on and {data['valid_documents']} held out, but "
            "both are needed. "
            "Give more than one document, or name held-out ones with --valid."
        )


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_command(main)
