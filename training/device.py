"""Where the arithmetic runs and in which precision."""

import ctypes
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from errors import RecipeError
from model import LanguageModel


@dataclass(frozen=True)
class Device:
    name: str
    bf16: bool
    """Matrix products in bf16 (weights, norms and softmax stay fp32)."""
    tokens_at_once: int
    """Tokens in one forward and backward pass: the logits alone take 4 bytes times V for each."""
    compiled: bool = False
    """Gradients come from code that `torch.compile` makes."""

    def loss(self, model: LanguageModel) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """The mean loss of `model`. Compiled, one program for each shape of a batch: two or three in a run."""
        return torch.compile(model.loss, dynamic=False) if self.compiled else model.loss

    def precision(self) -> AbstractContextManager:
        return torch.autocast(self.name, dtype=torch.bfloat16) if self.bf16 else nullcontext()


def choose_device(
    name: str = "auto", threads: int | None = None, precision: str = "auto", compiled: bool = False
) -> Device:
    keep_freed_memory()
    if threads:
        torch.set_num_threads(threads)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise RecipeError("PyTorch sees no CUDA device. Use --device cpu, or install a PyTorch built for yours.")
    if name not in ("cpu", "cuda"):
        raise RecipeError(f"--device is {name}, but the recipe knows auto, cpu and cuda. Use one of these.")
    bf16 = bf16_is_faster(name) if precision == "auto" else precision == "bf16"
    return Device(name, bf16, tokens_at_once=16_384 if name == "cuda" else 4_096, compiled=compiled)


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


def keep_freed_memory() -> None:
    """Has glibc keep freed memory for the next tensor. It returns arrays of megabytes to the system otherwise, which
    clears them page by page whenever they come back: a third of a step's processor time on CPUs."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 2**28)
