"""Options of run.py."""

import argparse
from dataclasses import replace
from pathlib import Path

from presets import PRESETS, Preset

REPOSITORY = Path(__file__).resolve().parent.parent
SMOKE_OUT = REPOSITORY / "training" / "out" / "smoke"


def smoke_text() -> list[Path]:
    """The demo's documents, or, in a checkout without them, the repository's own prose and code."""
    demo = sorted((REPOSITORY / "demo").glob("*.jsonl*"))
    kinds = ("LICENSE", "*.md", "docs/**/*.md", "src/**/*.ts", "training/*.md", "training/*.py")
    return demo or [path for kind in kinds for path in sorted(REPOSITORY.glob(kind))]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Trains a base model for knnlm, from raw text to a checked ONNX folder."
    )
    add = parser.add_argument
    add("--text", type=Path, nargs="+", help=".jsonl or plain text files, also .gz, or folders of .jsonl, .txt, .md")
    add("--out", type=Path, help="folder of the model")
    add("--preset", choices=list(PRESETS), default="wiki-mini", help="size and schedule (default: wiki-mini)")
    add("--valid", type=Path, nargs="+", help="held-out text (default: every 64th document)")
    add("--one-in", type=int, default=1, metavar="N", help="train on one in N documents of the text (default: 1)")
    add("--minutes", type=float, help="limit of training in time instead of tokens")
    add("--tokens", type=int, help="limit of training in tokens (default: the preset's)")
    add("--vocab", type=int, help="tokens in the vocabulary (default: the preset's)")
    add(
        "--rate-scale",
        type=float,
        default=1.0,
        help="multiplies the learning rates; below 1 changes a model continued from less (default: 1)",
    )
    add("--optimizer", choices=["muon", "adamw"], help="of the matrices inside the layers (default: the preset's)")
    add("--seed", type=int, help="seed of weights and order (default: the preset's)")
    add("--init-from", type=Path, help="continue from a folder with config.json, tokenizer.json, model.safetensors")
    add("--tokenizer-from", type=Path, metavar="FOLDER", help="use this model's tokenizer instead of training one")
    add("--resume", action="store_true", help="go on from the last checkpoint of the same command")
    add("--stop-after", type=int, metavar="STEPS", help="leave a checkpoint and stop after this many steps")
    add("--tokenizer-megabytes", type=float, default=300, help="text the tokenizer is trained on (default: 300)")
    add("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    add("--threads", type=int, help="threads of PyTorch (default: its own choice)")
    add(
        "--precision", choices=["auto", "bf16", "fp32"], default="auto", help="of matrix products (default: the faster)"
    )
    add("--compile", action="store_true", help="torch.compile: twice as fast on CPUs, needs a C++ compiler")
    add("--work", type=Path, help="folder of token files and checkpoint (default: OUT/.training)")
    add("--weights", choices=["fp32", "fp16"], default="fp32", help="precision of the ONNX file (default: fp32)")
    add("--evaluate", type=Path, nargs="+", help="more held-out texts for the card, one row each")
    add("--license", default="", help="for the card: the license of the weights")
    add("--text-license", default="", help="for the card: the license and the authors of the text")
    add("--reference", type=Path, help="model folder whose ONNX inputs, outputs and opset must be the same")
    add("--smoke", action="store_true", help="the small preset on the repository's own text, into training/out/smoke")
    args = parser.parse_args()
    args.overwrite = args.smoke and args.out is None
    if args.smoke:
        args.preset = "smoke"
        args.text = args.text or smoke_text()
        args.out = args.out or SMOKE_OUT
    for name in ("text", "out"):
        if not getattr(args, name):
            parser.error(f"--{name} is missing; or try --smoke")
    for name in ("minutes", "tokens", "vocab", "rate_scale", "threads", "stop_after", "one_in"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            parser.error(f"--{name.replace('_', '-')} is {value}, but must be above 0")
    return args


def choose_preset(args: argparse.Namespace) -> Preset:
    preset = PRESETS[args.preset]
    model = replace(preset.model, vocab_size=args.vocab or preset.model.vocab_size)
    return replace(
        preset,
        model=model,
        tokens=args.tokens or preset.tokens,
        seed=args.seed or preset.seed,
        optimizer=args.optimizer or preset.optimizer,
        muon_rate=preset.muon_rate * args.rate_scale,
        adamw_rate=preset.adamw_rate * args.rate_scale,
        adam_rate=preset.adam_rate * args.rate_scale,
    )
