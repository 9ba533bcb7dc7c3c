"""Makes a model folder of GPT-2's shape (124 million parameters) with random weights: for the cost of memory beside a model that is not tiny.

usage: python make_gpt2_shape.py OUT TOKENIZER      (pip install torch transformers optimum[exporters]; TOKENIZER is a model folder)

Speed does not depend on what the weights are. The tokenizer is another model's: ids above its size are never text. What is
written is what `optimum-cli export onnx` writes for GPT-2, fp32.
"""
import json
import shutil
import sys
from pathlib import Path

import torch
from optimum.exporters.onnx import onnx_export_from_model
from transformers import GPT2Config, GPT2LMHeadModel

out, tokenizer = Path(sys.argv[1]), Path(sys.argv[2])
config = json.loads((tokenizer / "config.json").read_text())
bos, eos = config["bos_token_id"], config["eos_token_id"]
torch.manual_seed(0)
model = GPT2LMHeadModel(GPT2Config(bos_token_id=bos, eos_token_id=eos)).eval()
print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
onnx_export_from_model(model, out / "onnx", task="text-generation-with-past", do_validation=False)
for name in ("config.json", "generation_config.json"):
    path = out / "onnx" / name
    if path.exists():
        path.rename(out / name)
for name in ("tokenizer.json", "tokenizer_config.json"):
    shutil.copy(tokenizer / name, out / name)
