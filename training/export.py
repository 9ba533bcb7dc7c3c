"""Writes onnx/model.onnx beside a model's weights: training/export.py MODEL [--weights fp16] [--reference FOLDER]

The graph is built node by node, so that it depends on no exporter's version and a reader can follow
it: input_ids, attention_mask, position_ids and past_key_values.N.key|value in; logits and
present.N.key|value out, as Hugging Face ONNX models have them. Initializers keep the names and
layouts of model.safetensors; as fp16 they take half the room and are widened when a session is made.
Operators are those of opset 17, which onnxruntime has had since 1.12.

Letters in shapes: B sequences, T positions, P in the cache, d width, V vocabulary, H query heads,
G key/value heads, h width of a head.
"""

import argparse
import json
import math
import os
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from errors import run_command
from model import LanguageModel, ModelConfig, inverse_frequencies

OPSET, IR_VERSION = 17, 8
MASKED = -1e9
"""Finite, so that a padded query, which sees nothing, gives uniform attention and not NaN."""


class Graph:
    """Nodes and initializers in the order they are added; a node's output is named as the node."""

    def __init__(self):
        self.nodes, self.initializers, self.known = [], [], {}

    def add(self, op: str, name: str, *inputs: str, **attributes) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def weight(self, name: str, value: np.ndarray) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def constant(self, value, dtype=np.int64) -> str:
        """One initializer for each different value."""
        array = np.array(value, dtype)
        key = f"constant/{array.dtype}/{array.tolist()}"
        if key not in self.known:
            self.known[key] = self.weight(key, array)
        return key


class LlamaGraph(Graph):
    def __init__(self, model: LanguageModel, weights: str = "fp32"):
        super().__init__()
        self.config = model.config
        self.parameters = {}
        for name, value in model.state_dict().items():
            array = value.detach().cpu().float().numpy()
            if weights == "fp16" and array.ndim == 2:
                half = self.weight(name, array.astype(np.float16))
                self.parameters[name] = self.add("Cast", f"/{name}/float", half, to=TensorProto.FLOAT)
            else:
                self.parameters[name] = self.weight(name, array)

    def linear(self, at: str, x: str) -> str:
        """(…, in) -> (…, out). The transposed weight is folded once, when a session is made."""
        transposed = self.add("Transpose", f"/{at}/Transpose", self.parameters[f"{at}.weight"], perm=[1, 0])
        return self.add("MatMul", f"/{at}/MatMul", x, transposed)

    def norm(self, at: str, x: str) -> str:
        square = self.add("Pow", f"/{at}/Pow", x, self.constant(2, np.float32))
        mean = self.add("ReduceMean", f"/{at}/ReduceMean", square, axes=[-1], keepdims=1)
        safe = self.add("Add", f"/{at}/Add", mean, self.constant(self.config.rms_norm_eps, np.float32))
        root = self.add("Sqrt", f"/{at}/Sqrt", safe)
        scaled = self.add("Div", f"/{at}/Div", x, root)
        return self.add("Mul", f"/{at}/Mul", scaled, self.parameters[f"{at}.weight"])

    def rotary(self) -> None:
        """cos and sin of the positions' angles, (B, 1, T, h)."""
        frequencies = self.weight("model.inverse_frequencies", inverse_frequencies(self.config).numpy())
        at = "/model/rotary"
        column = self.add("Unsqueeze", f"{at}/column", "position_ids", self.constant([2]))
        positions = self.add("Cast", f"{at}/float", column, to=TensorProto.FLOAT)
        half = self.add("Mul", f"{at}/half", positions, frequencies)
        angles = self.add("Concat", f"{at}/angles", half, half, axis=-1)
        per_head = self.add("Unsqueeze", f"{at}/per_head", angles, self.constant([1]))
        self.cos = self.add("Cos", f"{at}/cos", per_head)
        self.sin = self.add("Sin", f"{at}/sin", per_head)

    def rotate(self, at: str, x: str) -> str:
        half = self.config.head_dim // 2
        self.nodes.append(
            helper.make_node(
                "Split", [x, self.constant([half, half])], [f"{at}/first", f"{at}/second"], name=f"{at}/Split", axis=-1
            )
        )
        negative = self.add("Neg", f"{at}/Neg", f"{at}/second")
        half_turn = self.add("Concat", f"{at}/half_turn", negative, f"{at}/first", axis=-1)
        straight = self.add("Mul", f"{at}/cos", x, self.cos)
        across = self.add("Mul", f"{at}/sin", half_turn, self.sin)
        return self.add("Add", f"{at}/rotated", straight, across)

    def length(self, at: str, of: str) -> str:
        """Second dimension of an input, a scalar."""
        shape = self.add("Shape", f"{at}/Shape", of)
        return self.add("Gather", at, shape, self.constant(1), axis=0)

    def mask(self) -> None:
        """(B, 1, T, P + T): 0 where a query may look, MASKED at later and at padded positions."""
        at = "/model/mask"
        total, fresh = self.length(f"{at}/total", "attention_mask"), self.length(f"{at}/fresh", "input_ids")
        past = self.add("Sub", f"{at}/past", total, fresh)
        keys = self.add("Range", f"{at}/keys", self.constant(0), total, self.constant(1))
        queries = self.add("Range", f"{at}/queries", past, total, self.constant(1))
        column = self.add("Unsqueeze", f"{at}/column", queries, self.constant([1]))
        causal = self.add("LessOrEqual", f"{at}/causal", keys, column)
        present = self.add("Greater", f"{at}/present", "attention_mask", self.constant(0))
        per_query = self.add("Unsqueeze", f"{at}/per_query", present, self.constant([1, 2]))
        allowed = self.add("And", f"{at}/allowed", causal, per_query)
        self.bias = self.add(
            "Where", f"{at}/bias", allowed, self.constant(0, np.float32), self.constant(MASKED, np.float32)
        )

    def heads(self, at: str, x: str) -> str:
        """(B, T, n · h) -> (B, n, T, h)"""
        cut = self.add("Reshape", f"/{at}/cut", x, self.constant([0, 0, -1, self.config.head_dim]))
        return self.add("Transpose", f"/{at}/heads", cut, perm=[0, 2, 1, 3])

    def repeated(self, at: str, x: str) -> str:
        """(B, G, P + T, h) -> (B, H, P + T, h): query heads of a group share keys and values."""
        config = self.config
        group = config.num_attention_heads // config.num_key_value_heads
        if group == 1:
            return x
        apart = self.add("Unsqueeze", f"{at}/apart", x, self.constant([2]))
        copies = self.add("Expand", f"{at}/copies", apart, self.constant([1, 1, group, 1, 1]))
        shape = self.constant([0, config.num_attention_heads, -1, config.head_dim])
        return self.add("Reshape", f"{at}/repeated", copies, shape)

    def attention(self, layer: int, x: str) -> str:
        at = f"model.layers.{layer}.self_attn"
        query = self.rotate(f"/{at}/query", self.heads(f"{at}.q_proj", self.linear(f"{at}.q_proj", x)))
        key = self.rotate(f"/{at}/key", self.heads(f"{at}.k_proj", self.linear(f"{at}.k_proj", x)))
        value = self.heads(f"{at}.v_proj", self.linear(f"{at}.v_proj", x))
        key = self.add("Concat", f"present.{layer}.key", f"past_key_values.{layer}.key", key, axis=2)
        value = self.add("Concat", f"present.{layer}.value", f"past_key_values.{layer}.value", value, axis=2)
        key, value = self.repeated(f"/{at}/key", key), self.repeated(f"/{at}/value", value)
        transposed = self.add("Transpose", f"/{at}/key/transposed", key, perm=[0, 1, 3, 2])
        scale = self.constant(1 / math.sqrt(self.config.head_dim), np.float32)
        scaled = self.add("Mul", f"/{at}/query/scaled", query, scale)
        scores = self.add("MatMul", f"/{at}/scores", scaled, transposed)
        biased = self.add("Add", f"/{at}/biased", scores, self.bias)
        weights = self.add("Softmax", f"/{at}/Softmax", biased, axis=-1)
        mixed = self.add("MatMul", f"/{at}/mixed", weights, value)
        rows = self.add("Transpose", f"/{at}/rows", mixed, perm=[0, 2, 1, 3])
        joined = self.add("Reshape", f"/{at}/joined", rows, self.constant([0, 0, self.config.hidden_size]))
        return self.linear(f"{at}.o_proj", joined)

    def feed_forward(self, at: str, x: str) -> str:
        gate = self.linear(f"{at}.gate_proj", x)
        sigmoid = self.add("Sigmoid", f"/{at}/Sigmoid", gate)
        silu = self.add("Mul", f"/{at}/silu", gate, sigmoid)
        gated = self.add("Mul", f"/{at}/gated", silu, self.linear(f"{at}.up_proj", x))
        return self.linear(f"{at}.down_proj", gated)

    def build(self) -> onnx.ModelProto:
        embedding = self.parameters["model.embed_tokens.weight"]
        x = self.add("Gather", "/model/embed_tokens/Gather", embedding, "input_ids", axis=0)
        self.rotary()
        self.mask()
        for layer in range(self.config.num_hidden_layers):
            at = f"model.layers.{layer}"
            attended = self.attention(layer, self.norm(f"{at}.input_layernorm", x))
            x = self.add("Add", f"/{at}/attended", x, attended)
            fed = self.feed_forward(f"{at}.mlp", self.norm(f"{at}.post_attention_layernorm", x))
            x = self.add("Add", f"/{at}/fed", x, fed)
        hidden = self.norm("model.norm", x)
        tied = self.add("Transpose", "/lm_head/Transpose", embedding, perm=[1, 0])
        self.add("MatMul", "logits", hidden, tied)
        graph = helper.make_graph(
            self.nodes, "llama", inputs_of(self.config), outputs_of(self.config), self.initializers
        )
        made = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="knnlm-training"
        )
        onnx.checker.check_model(made, full_check=True)
        return made


def cache_shape(config: ModelConfig, length: str) -> list:
    return ["batch_size", config.num_key_value_heads, length, config.head_dim]


def inputs_of(config: ModelConfig) -> list[onnx.ValueInfoProto]:
    long, fresh = TensorProto.INT64, ["batch_size", "sequence_length"]
    return [
        helper.make_tensor_value_info("input_ids", long, fresh),
        helper.make_tensor_value_info("attention_mask", long, ["batch_size", "total_sequence_length"]),
        helper.make_tensor_value_info("position_ids", long, fresh),
        *(
            helper.make_tensor_value_info(
                f"past_key_values.{i}.{part}", TensorProto.FLOAT, cache_shape(config, "past_sequence_length")
            )
            for i in range(config.num_hidden_layers)
            for part in ("key", "value")
        ),
    ]


def outputs_of(config: ModelConfig) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(
            "logits", TensorProto.FLOAT, ["batch_size", "sequence_length", config.vocab_size]
        ),
        *(
            helper.make_tensor_value_info(
                f"present.{i}.{part}", TensorProto.FLOAT, cache_shape(config, "total_sequence_length")
            )
            for i in range(config.num_hidden_layers)
            for part in ("key", "value")
        ),
    ]


def export(model: LanguageModel, folder: Path, weights: str = "fp32") -> Path:
    """Writes `onnx/model.onnx`. For fp16 weights the model's own matrices are rounded, so that both say the same."""
    if weights == "fp16":
        round_to_fp16(model)
    path = folder / "onnx" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".onnx.partial")
    onnx.save(LlamaGraph(model, weights).build(), partial)
    os.replace(partial, path)
    return path


@torch.no_grad()
def round_to_fp16(model: LanguageModel) -> None:
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.copy_(parameter.half())


def main() -> None:
    from parity import check_parity, compare_interface

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="folder with config.json and model.safetensors")
    parser.add_argument("--weights", choices=["fp32", "fp16"], default="fp32", help="precision on disk (default: fp32)")
    parser.add_argument("--reference", type=Path, help="model folder whose inputs, outputs and opset must be the same")
    args = parser.parse_args()
    model = LanguageModel.load(args.model)
    path = export(model, args.model, args.weights)
    result = check_parity(model, path)
    if args.reference:
        result["interface"] = compare_interface(path, args.reference / "onnx" / "model.onnx")
    print(json.dumps(result))


if __name__ == "__main__":
    run_command(main)
