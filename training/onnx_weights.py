"""Takes a LLaMA model's weights out of its ONNX file: python training/onnx_weights.py MODEL OUT

Copies the folder's JSON files and writes model.safetensors, to continue its training or for programs that
read no ONNX. It works for files whose initializers carry the weights' own names and layouts, as those made here do.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="folder with config.json and onnx/model.onnx")
    parser.add_argument("out", type=Path, help="new folder")
    args = parser.parse_args()
    path = args.model / "onnx" / "model.onnx"
    if not path.is_file():
        sys.exit(f"error: there is no {path}. Name a model folder.")
    named = {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}
    weights = {
        name: numpy_helper.to_array(tensor).astype("float32")
        for name, tensor in named.items()
        if name.endswith(".weight")
    }
    layers = json.loads((args.model / "config.json").read_text())["num_hidden_layers"]
    # Nine in a layer, the embedding and the last norm.
    if len(weights) != 9 * layers + 2:
        sys.exit(
            f"error: {path} names {len(weights)} weights, not the {9 * layers + 2} of {layers} LLaMA layers. Use a "
            "folder with model.safetensors."
        )
    args.out.mkdir(parents=True, exist_ok=True)
    for source in args.model.glob("*.json"):
        shutil.copyfile(source, args.out / source.name)
    save_file(weights, args.out / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
