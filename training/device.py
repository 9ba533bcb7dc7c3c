"""Where the arithmetic runs and in which precision."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from errors import RecipeError


@dataclass(frozen=True)
class Device:
    name: str
    bf16: bool
    """Matrix products in bf16 (weights, norms and softmax stay fp32)."""
    tokens_at_once: int
    """Tokens in one forward and backward pass: the logits alone take 4 bytes times V for each."""

    def precision(self) -> AbstractContextManager:
        return torch.autocast(self.name, dtype=torch.bfloat16) if self.bf16 else nullcontext()


def choose_device(name: str = "auto", threads: int | None = None, precision: str = "auto") -> Device:
    if threads:
        torch.set_num_threads(threads)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise RecipeError("PyTorch sees no CUDA device. Use --device cpu, or install a PyTorch built for yours.")
    if name not in ("cpu", "cuda"):
        raise RecipeError(f"--device is {name}, but the recipe knows auto, cpu and cuda. Use one of these.")
    bf16 = bf16_is_faster(name) if precision == "auto" else precision == "bf16"
    return Device(name, bf16, tokens_at_once=16_384 if name == "cuda" else 4_096)


def bf16_is_faster(name: str) -> bool:
    """Measured, not looked up: processors that merely support bf16 may be slower with it than with fp32."""

    def seconds(dtype: torch.dtype) -> float:
        a, b = (torch.ones(1024, 1024, dtype=dtype, device=name) for _ in range(2))
        return fastest(lambda: a @ b, name)

    return seconds(torch.bfloat16) < 0.8 * seconds(torch.float32)


def fastest(work: Callable[[], object], name: str) -> float:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        if name == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return min(times)
