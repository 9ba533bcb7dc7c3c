"""The mean of models' weights: training/average.py MODEL MODEL... --out FOLDER [--shares 0.5 0.5]

Models that were continued from the same weights lie in one basin, and the middle of it is often lower than any of
them: steps at a constant rate circle around what a falling rate would reach (Izmailov et al. 2018, Wortsman et al.
2022). It takes no training, and there is no more to it: `export.py` writes the ONNX file of the mean.
"""

import argparse
import json
import math
import shutil
from pathlib import Path

from errors import RecipeError, run_command
from model import LanguageModel
from tokenizer import load_tokenizer


def average(folders: list[Path], shares: list[float] | None, out: Path) -> list[float]:
    """Writes the weighted mean as a model folder: JSON files of the first, model.safetensors. -> the shares, summing to 1"""
    if len(folders) < 2:
        raise RecipeError("One model has no mean. Name two or more folders.")
    shares = shares or [1.0] * len(folders)
    if len(shares) != len(folders) or not all(share > 0 and math.isfinite(share) for share in shares):
        raise RecipeError(f"--shares is {shares}, but each of the {len(folders)} models needs one above 0.")
    if any(out.resolve() == folder.resolve() for folder in folders):
        raise RecipeError(f"{out} is one of the models. Give another folder as --out.")
    shares = [share / sum(shares) for share in shares]
    models = [LanguageModel.load(folder) for folder in folders]
    vocabularies = [load_tokenizer(folder).get_vocab() for folder in folders]
    for folder, model, vocabulary in zip(folders, models, vocabularies):
        other = "shape" if model.config != models[0].config else "tokenizer" if vocabulary != vocabularies[0] else None
        if other:
            raise RecipeError(
                f"{folder} has another {other} than {folders[0]}. Average models that were continued from the same one."
            )
    mean = {
        name: sum(share * model.state_dict()[name].double() for share, model in zip(shares, models)).float()
        for name in models[0].state_dict()
    }
    models[0].load_state_dict(mean)
    models[0].save(out)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (folders[0] / name).is_file():
            shutil.copyfile(folders[0] / name, out / name)
    return shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="+", help="folders with config.json and model.safetensors")
    parser.add_argument("--shares", type=float, nargs="+", help="weight of each model (default: alike)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the mean")
    args = parser.parse_args()
    shares = average(args.model, args.shares, args.out)
    print(json.dumps({"out": str(args.out), "shares": shares}))


if __name__ == "__main__":
    run_command(main)
