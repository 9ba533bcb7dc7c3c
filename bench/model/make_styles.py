"""Makes the styles of export that styles.js compares, from a pretrained model in PyTorch's format.

usage: python make_styles.py MODEL OUT [STYLE ...]                        (versions: see test/fixtures/models/make_families.py)
       python make_styles.py MODEL OUT genai-fp32 genai-int4 --builder PATH_OF_onnxruntime_genai/models      (versions: see make_genai.py)

MODEL   a folder with config.json, model.safetensors and tokenizer.json
OUT     gets one model folder per style
"""
import argparse, copy, pathlib, shutil, sys, tempfile

import onnx, transformers

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("out")
parser.add_argument("styles", nargs="*")
parser.add_argument("--builder")
options = parser.parse_args()
sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "test" / "fixtures" / "models"))


def folder_of(style):
    folder = pathlib.Path(options.out) / style
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    for file in pathlib.Path(options.model).glob("*.json"):
        shutil.copyfile(file, folder / file.name)
    return folder


def by_optimum(styles):
    from make_families import STYLES, exported, known

    model = transformers.AutoModelForCausalLM.from_pretrained(options.model).eval()
    plain = exported(model, known.LlamaOnnxConfig)
    for style in styles:
        proto = plain if style == "fp32" else STYLES[style][0](model, known.LlamaOnnxConfig, copy.deepcopy(plain))
        onnx.save(proto, folder_of(style) / "onnx" / "model.onnx")
        print("made", style, flush=True)


def by_genai_builder(styles):
    sys.path.insert(0, options.builder)
    from builder import create_model, parse_extra_options

    for style in styles:
        precision = style.removeprefix("genai-")
        with tempfile.TemporaryDirectory() as folder:
            wanted = (None, options.model, folder, precision, "cpu", f"{folder}/cache")
            create_model(*wanted, **parse_extra_options(*wanted, []))
            onnx.save(onnx.load(pathlib.Path(folder) / "model.onnx"), folder_of(style) / "onnx" / "model.onnx")
        print("made", style, flush=True)


if options.builder:
    by_genai_builder(options.styles)
else:
    by_optimum(options.styles or ["fp32", "merged", "start", "fp16", "q4", "q4f16", "q8", "int8"])
