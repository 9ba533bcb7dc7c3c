"""Muon or AdamW for the matrices inside the layers, Adam for embeddings and norms, and one schedule for all.

Muon (Jordan et al. 2024) takes the momentum of a matrix to the nearest orthogonal one by five
Newton-Schulz steps, so every direction learns equally fast. An embedding's rows are looked up, not
multiplied, and a norm is a vector: for these Adam stays the right choice. All are PyTorch's own.
"""

import torch

from errors import RecipeError
from model import LanguageModel
from presets import Preset


class Optimizers:
    def __init__(self, model: LanguageModel, preset: Preset):
        matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed_tokens" not in name]
        others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed_tokens" in name]
        inner, rate = (muon if preset.optimizer == "muon" else adamw)(matrices, preset)
        adam = torch.optim.Adam(others, lr=preset.adam_rate, betas=preset.adam_betas)
        self.full = {preset.optimizer: (inner, rate), "adam": (adam, preset.adam_rate)}

    def step(self, rate: float) -> None:
        """One update at `rate`, a share of the full rates; the gradients are spent."""
        for optimizer, full in self.full.values():
            for group in optimizer.param_groups:
                group["lr"] = full * rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict:
        return {name: optimizer.state_dict() for name, (optimizer, _) in self.full.items()}

    def load(self, state: dict) -> None:
        for name, (optimizer, _) in self.full.items():
            optimizer.load_state_dict(state[name])


def muon(matrices: list[torch.nn.Parameter], preset: Preset) -> tuple[torch.optim.Optimizer, float]:
    """-> the optimizer and its full rate"""
    if not hasattr(torch.optim, "Muon"):
        raise RecipeError(
            f"PyTorch {torch.__version__} has no Muon. Install 2.9 or newer: pip install -r "
            "training/requirements.txt; or use --optimizer adamw."
        )
    rate = preset.muon_rate
    made = torch.optim.Muon(matrices, lr=rate, momentum=preset.muon_momentum, weight_decay=preset.decay, ns_steps=5)
    return made, rate


def adamw(matrices: list[torch.nn.Parameter], preset: Preset) -> tuple[torch.optim.Optimizer, float]:
    """-> the optimizer and its full rate"""
    rate = preset.adamw_rate
    return torch.optim.AdamW(matrices, lr=rate, betas=preset.adam_betas, weight_decay=preset.decay), rate


def rate_at(preset: Preset, step: int, progress: float) -> float:
    """Share of the full rates: linear warm-up, constant, then linear down to `final_rate`."""
    warm = min(1.0, (step + 1) / preset.warmup_steps)
    if progress <= preset.constant_until:
        return warm
    falling = min(1.0, (progress - preset.constant_until) / (1 - preset.constant_until))
    return warm * (1 - falling * (1 - preset.final_rate))
