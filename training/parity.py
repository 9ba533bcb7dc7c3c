"""Does the ONNX file compute what PyTorch computes? Fails loudly when it does not."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from errors import RecipeError
from model import LanguageModel, ModelConfig

TOLERANCE = 1e-4
"""Largest difference of a logit that is still rounding: other kernels add in another order."""


class OnnxModel:
    def __init__(self, path: Path, config: ModelConfig):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.config = config

    def empty_cache(self, batch: int) -> list[np.ndarray]:
        shape = (batch, self.config.num_key_value_heads, 0, self.config.head_dim)
        return [np.zeros(shape, np.float32)] * (2 * self.config.num_hidden_layers)

    def __call__(self, ids: np.ndarray, cache: list[np.ndarray] | None = None, mask: np.ndarray | None = None):
        """ids (B, T) -> logits (B, T, V) and the cache: key, value, key, value, …; positions count unmasked tokens."""
        cache = cache or self.empty_cache(len(ids))
        mask = np.ones((len(ids), cache[0].shape[2] + ids.shape[1]), np.int64) if mask is None else mask
        positions = np.maximum(mask.cumsum(1) - 1, 0)[:, -ids.shape[1] :]
        names = [
            f"past_key_values.{i}.{part}" for i in range(self.config.num_hidden_layers) for part in ("key", "value")
        ]
        feeds = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, **dict(zip(names, cache))}
        logits, *present = self.session.run(None, feeds)
        return logits, present


@torch.no_grad()
def check_parity(model: LanguageModel, path: Path, length: int = 96, batch: int = 2) -> dict:
    """Largest difference of logits: without cache; token by token with it; in a batch padded at the left."""
    model.cpu().eval()
    config = model.config
    length = min(length, config.max_position_embeddings)
    ids = np.random.default_rng(7).integers(config.vocab_size, size=(batch, length))
    expected = model(torch.from_numpy(ids))[0].numpy()
    exported = OnnxModel(path, config)
    result = {
        "withoutCache": difference(exported(ids)[0], expected),
        "withCache": difference(stepwise(exported, ids, length // 2), expected),
        "pytorchWithCache": difference(stepwise(TorchModel(model), ids, length // 2), expected),
        "padded": difference(padded(exported, ids), expected[:1]),
    }
    worst = max(result.values())
    if not worst <= TOLERANCE:
        raise RuntimeError(f"{path} differs from PyTorch by {worst:.2e} in logits, more than {TOLERANCE:.0e}: {result}")
    return result


class TorchModel:
    """PyTorch behind the same call as OnnxModel, to check its own cache."""

    def __init__(self, model: LanguageModel):
        self.model = model

    def __call__(self, ids: np.ndarray, cache=None):
        logits, present = self.model(torch.from_numpy(ids), cache)
        return logits.numpy(), present


def stepwise(model: OnnxModel | TorchModel, ids: np.ndarray, first: int) -> np.ndarray:
    """Logits of `first` positions at once, then of one at a time."""
    logits, cache = model(ids[:, :first])
    rows = [logits]
    for i in range(first, ids.shape[1]):
        logits, cache = model(ids[:, i : i + 1], cache)
        rows.append(logits)
    return np.concatenate(rows, axis=1)


def padded(model: OnnxModel, ids: np.ndarray, by: int = 5) -> np.ndarray:
    """Logits of the first row when `by` masked positions stand before it."""
    mask = np.ones((1, ids.shape[1] + by), np.int64)
    mask[:, :by] = 0
    row = np.concatenate([np.zeros((1, by), np.int64), ids[:1]], axis=1)
    return model(row, mask=mask)[0][:, by:]


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max())


def interface(path: Path) -> dict:
    """Opset and, in order, name, type and shape of all inputs and outputs."""
    model = onnx.load(path, load_external_data=False)

    def describe(value: onnx.ValueInfoProto) -> list:
        tensor = value.type.tensor_type
        return [value.name, tensor.elem_type, [d.dim_param or d.dim_value for d in tensor.shape.dim]]

    return {
        "opset": [[o.domain, o.version] for o in model.opset_import],
        "inputs": [describe(v) for v in model.graph.input],
        "outputs": [describe(v) for v in model.graph.output],
    }


def compare_interface(path: Path, reference: Path) -> str:
    """Raises when the two files do not take and give the same names, types, shapes at the same opset.
    Widths and numbers of layers count as part of the shape: compare models of one size."""
    if not reference.is_file():
        raise RecipeError(f"There is no {reference} to compare with. Name a model folder that has one.")
    mine, other = interface(path), interface(reference)
    for part, value in mine.items():
        if value != other[part]:
            raise RecipeError(f"{path} differs from {reference} in {part}: {value} against {other[part]}.")
    return "same"
