"""The LLaMA architecture (Touvron et al. 2023, arXiv 2302.13971) in plain PyTorch.

Parameters carry the names and layouts of transformers' LlamaForCausalLM, so the weights load there
and weights from there load here. The output embedding is tied to the input embedding.

Letters in shapes: B sequences, T positions, P positions in the cache, d width, V vocabulary,
H query heads, G key/value heads, h width of a head.
"""

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from errors import RecipeError

Cache = list[tuple[Tensor, Tensor]]
"""Keys and values of every layer, each (B, G, P, h)."""


@dataclass(frozen=True)
class ModelConfig:
    """Field names are those of transformers' config.json."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    max_position_embeddings: int
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-5
    bos_token_id: int = 0
    eos_token_id: int = 0

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    def to_json(self) -> dict:
        """config.json as transformers 4 (`rope_theta`) and 5 (`rope_parameters`) read it."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            **asdict(self),
            "rope_parameters": {"rope_type": "default", "rope_theta": self.rope_theta},
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "tie_word_embeddings": True,
            "attention_bias": False,
            "mlp_bias": False,
            "attention_dropout": 0.0,
            "initializer_range": 0.02,
            "pretraining_tp": 1,
            "pad_token_id": None,
            "dtype": "float32",
            "torch_dtype": "float32",
            "use_cache": True,
        }

    @staticmethod
    def from_json(config: dict) -> "ModelConfig":
        """Refuses what this file does not compute, so that no model is read and silently changed."""
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        expected = {
            "model_type": "llama",
            "hidden_act": "silu",
            "tie_word_embeddings": True,
            "attention_bias": False,
            "mlp_bias": False,
        }
        seen = {name: config.get(name, value) for name, value in expected.items()}
        seen["rope_type"] = rope.get("rope_type", "default")
        for name, value in (expected | {"rope_type": "default"}).items():
            if seen[name] != value:
                raise RecipeError(
                    f"config.json has {name} {json.dumps(seen[name])}, but the recipe trains models with "
                    f"{json.dumps(value)} only. Start from another model."
                )
        theta = rope.get("rope_theta", config.get("rope_theta", 10_000.0))
        known = {field.name for field in fields(ModelConfig)}
        values = {name: value for name, value in config.items() if name in known}
        values.setdefault("num_key_value_heads", config["num_attention_heads"])
        made = ModelConfig(**values | {"rope_theta": float(theta)})
        if config.get("head_dim") not in (None, made.head_dim):
            raise RecipeError(
                f"config.json has head_dim {config['head_dim']}, but the recipe needs hidden_size / "
                f"num_attention_heads = {made.head_dim}. Start from another model."
            )
        return made


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + eps) · weight, in fp32 whatever the precision around it."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021) in transformers' layout: dimension i turns with i + h/2."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def inverse_frequencies(config: ModelConfig) -> Tensor:
    """(h/2) angle per position of each pair of dimensions."""
    even = torch.arange(0, config.head_dim, 2, dtype=torch.float32)
    return 1.0 / config.rope_theta ** (even / config.head_dim)


class Attention(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.head_dim = config.head_dim
        self.grouped = config.num_key_value_heads != config.num_attention_heads
        key_width = config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, key_width, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, key_width, bias=False)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, past: tuple[Tensor, Tensor] | None):
        """x (B, T, d) -> (B, T, d) and this layer's cache, past and present."""
        heads = (*x.shape[:2], -1, self.head_dim)
        query = rotate(self.q_proj(x).view(heads).transpose(1, 2), cos, sin)
        key = rotate(self.k_proj(x).view(heads).transpose(1, 2), cos, sin)
        value = self.v_proj(x).view(heads).transpose(1, 2)
        query, key = query.to(value.dtype), key.to(value.dtype)
        mask = None
        if past is not None:
            key, value = torch.cat((past[0], key), dim=2), torch.cat((past[1], value), dim=2)
            seen = torch.arange(key.shape[2], device=x.device)
            mask = seen[None, :] <= seen[-x.shape[1] :, None]
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None, enable_gqa=self.grouped
        )
        return self.o_proj(mixed.transpose(1, 2).flatten(2)), (key, value)


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020). Its input, in the last layer, is the key of kNN-LM."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = FeedForward(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, past: tuple[Tensor, Tensor] | None):
        attended, present = self.self_attn(self.input_layernorm(x), cos, sin, past)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), present


class Body(nn.Module):
    """Everything but the output embedding; the module transformers calls `model`."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.register_buffer("inverse_frequencies", inverse_frequencies(config), persistent=False)

    def forward(self, ids: Tensor, past: Cache | None) -> tuple[Tensor, Cache]:
        start = past[0][0].shape[2] if past else 0
        positions = torch.arange(start, start + ids.shape[1], device=ids.device, dtype=torch.float32)
        angles = (positions[:, None] * self.inverse_frequencies).repeat(1, 2)
        cos, sin = angles.cos(), angles.sin()
        x, present = self.embed_tokens(ids), []
        for i, layer in enumerate(self.layers):
            x, kept = layer(x, cos, sin, past[i] if past else None)
            present.append(kept)
        return self.norm(x), present


class LanguageModel(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.model = Body(config)
        self.initialize()

    def initialize(self) -> None:
        """Embeddings 0.02, matrices 0.5/√fan-in; those that write to the residual stream also
        /√(2·layers), so that its variance does not grow with depth."""
        for name, parameter in self.named_parameters():
            if "embed_tokens" in name:
                nn.init.normal_(parameter, std=0.02)
            elif parameter.ndim == 2:
                std = 0.5 / math.sqrt(parameter.shape[1])
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    std /= math.sqrt(2 * self.config.num_hidden_layers)
                nn.init.normal_(parameter, std=std)

    def forward(self, ids: Tensor, past: Cache | None = None) -> tuple[Tensor, Cache]:
        """ids (B, T) -> logits (B, T, V) and the cache of all P + T positions."""
        hidden, present = self.model(ids, past)
        return F.linear(hidden, self.model.embed_tokens.weight), present

    def loss(self, ids: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
        """Cross-entropy in nats; the softmax is taken in fp32."""
        logits, _ = self(ids)
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction=reduction)

    def save(self, folder: Path) -> None:
        """config.json, generation_config.json and model.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        config = self.config
        generation = {
            "_from_model_config": True,
            "bos_token_id": config.bos_token_id,
            "eos_token_id": config.eos_token_id,
            "use_cache": True,
        }
        write_json(folder / "config.json", config.to_json())
        write_json(folder / "generation_config.json", generation)
        weights = {name: value.detach().cpu().float().contiguous() for name, value in self.state_dict().items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    @staticmethod
    def load(folder: Path) -> "LanguageModel":
        for name in ("config.json", "model.safetensors"):
            if not (folder / name).is_file():
                raise RecipeError(
                    f"{folder} has no {name}. Name a folder with config.json, tokenizer.json and model.safetensors."
                )
        model = LanguageModel(ModelConfig.from_json(json.loads((folder / "config.json").read_text())))
        weights = load_file(folder / "model.safetensors")
        # Tied: the same numbers as the input embedding, which some writers store twice.
        weights.pop("lm_head.weight", None)
        missing, unexpected = model.load_state_dict({k: v.float() for k, v in weights.items()}, strict=False)
        if missing or unexpected:
            raise RecipeError(
                f"{folder}/model.safetensors is not the model of its config.json: {len(missing)} tensors are missing, "
                f"{len(unexpected)} are unknown, the first is {[*missing, *unexpected][0]}."
            )
        return model


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
