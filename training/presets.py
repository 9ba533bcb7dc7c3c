"""The numbers of a run: how large the model is, how long and how fast it learns.

`wiki-mini` is the model bundled with this package. `wiki-micro` is a quarter of it, for pairs of models that differ in
their training text alone. `smoke` is the same recipe made small enough to
go from text to a checked ONNX file in about a minute on two cores.
"""

from dataclasses import dataclass

from model import ModelConfig


@dataclass(frozen=True)
class Preset:
    model: ModelConfig
    tokens: int
    """Tokens to train on, unless the run is limited by time (`--minutes`) instead."""
    tokens_per_step: int
    short_window: int
    """Positions a training window has until `long_from`; then windows of the model's whole context."""
    long_from: float
    """Progress (0 to 1) from which windows are long. Short windows are cheaper and teach most of it."""
    warmup_steps: int
    constant_until: float
    """Progress until which the rates stay constant; from there they fall linearly to `final_rate`."""
    final_rate: float
    """Rate at the end, as a share of the full rate."""
    optimizer: str = "muon"
    """Of the matrices inside the layers: `muon` or `adamw`. Embeddings and norms have Adam in either case."""
    muon_rate: float = 0.02
    muon_momentum: float = 0.95
    adamw_rate: float = 3e-3
    decay: float = 0.01
    """Weight decay of the matrices, times their rate."""
    adam_rate: float = 3e-3
    adam_betas: tuple[float, float] = (0.9, 0.98)
    seed: int = 1


PRESETS = {
    "wiki-mini": Preset(
        model=ModelConfig(
            vocab_size=8192,
            hidden_size=256,
            intermediate_size=704,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=512,
        ),
        tokens=43_300_000,
        tokens_per_step=16_384,
        short_window=256,
        long_from=0.88,
        warmup_steps=40,
        constant_until=0.5,
        final_rate=0.03,
    ),
    "wiki-micro": Preset(
        model=ModelConfig(
            vocab_size=8192,
            hidden_size=128,
            intermediate_size=352,
            num_hidden_layers=4,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=512,
        ),
        tokens=40_000_000,
        tokens_per_step=8_192,
        short_window=128,
        long_from=0.88,
        warmup_steps=40,
        constant_until=0.5,
        final_rate=0.03,
    ),
    "smoke": Preset(
        model=ModelConfig(
            vocab_size=1024,
            hidden_size=128,
            intermediate_size=352,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=128,
        ),
        tokens=300_000,
        tokens_per_step=4_096,
        short_window=64,
        long_from=0.88,
        warmup_steps=10,
        constant_until=0.5,
        final_rate=0.03,
    ),
}
