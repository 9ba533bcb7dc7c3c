"""RESULTS.md, the model's card: written from what the run recorded, so that no number is typed by hand."""

import json
from pathlib import Path

from model import LanguageModel
from presets import Preset
from train import Progress


def write_card(folder: Path, model: LanguageModel, preset: Preset, end: Progress, facts: dict) -> None:
    """`facts`: data, device, precision, minutes, started_from, parity, evaluation, curve, versions."""
    sections = [
        title(folder, model),
        trained(preset, end, facts),
        evaluated(facts),
        curve(facts["curve"]),
        checked(facts),
    ]
    (folder / "RESULTS.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    (folder / "training.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def title(folder: Path, model: LanguageModel) -> str:
    c = model.config
    count = sum(p.numel() for p in model.parameters())
    return (
        f"# {folder.resolve().name}\n\nA base language model made with knnlm's `training/` recipe: {count:,} "
        "parameters, LLaMA architecture, "
        f"width {c.hidden_size}, {c.num_hidden_layers} layers, {c.num_attention_heads} heads of {c.head_dim} "
        f"({c.num_key_value_heads} for keys and values), "
        f"feed-forward {c.intermediate_size} (SwiGLU), RMSNorm {c.rms_norm_eps:g}, rotary base {c.rope_theta:,.0f}, "
        f"context {c.max_position_embeddings}, tied embeddings, "
        f"vocabulary {c.vocab_size:,}. A document begins with token {c.bos_token_id} and ends with token "
        f"{c.eos_token_id}."
    )


def trained(preset: Preset, end: Progress, facts: dict) -> str:
    data = facts["data"]
    limit = f"a limit of {facts['minutes']:g} minutes" if facts["minutes"] else f"a limit of {preset.tokens:,} tokens"
    origin = f"Continued from `{facts['started_from']}`" if facts["started_from"] else "Trained from scratch"
    return (
        f"## Training\n\n{origin} on {data['documents']:,} documents, {data['tokens']:,} tokens; {end.tokens:,} "
        f"tokens seen in {end.step:,} steps and "
        f"{end.seconds / 60:.1f} minutes ({limit}), {end.tokens / data['tokens']:.2f} passes over the text. "
        f"Device: {facts['device']}; matrix products in {facts['precision']}, weights in fp32.\n\n"
        f"Matrices by Muon (rate {preset.muon_rate:g}, momentum {preset.muon_momentum:g}, five Newton-Schulz steps, "
        f"decay {preset.muon_decay:g}), "
        f"embeddings and norms by Adam (rate {preset.adam_rate:g}, betas {preset.adam_betas[0]:g} and "
        f"{preset.adam_betas[1]:g}); "
        f"{preset.tokens_per_step:,} tokens a step; windows of {preset.short_window}, from {preset.long_from:.0%} "
        "of the run on the whole context; "
        f"warm-up of {preset.warmup_steps} steps, constant rate to {preset.constant_until:.0%}, then linear to "
        f"{preset.final_rate:.0%}; seed {preset.seed}. "
        f"Versions: {', '.join(f'{name} {version}' for name, version in facts['versions'].items())}."
    )


def evaluated(facts: dict) -> str:
    e = facts["evaluation"]
    return (
        "## Perplexity\n\nOf the model alone, on held-out documents (BOS + text, windows overlapping by half, "
        "every target once, "
        "end of document included), PyTorch fp32:\n\n"
        "| documents | tokens | perplexity per token | bits per byte |\n| --- | --- | --- | --- |\n"
        f"| {e['documents']:,} | {e['tokens']:,} | {e['perplexity']:.2f} | {e['bitsPerByte']:.4f} |"
    )


def curve(points: list[dict]) -> str:
    rows = "\n".join(
        f"| {p['tokens']:,} | {p['seconds'] / 60:.1f} | {p['loss']:.3f} | {p['bits_per_byte']:.3f} |" for p in points
    )
    return (
        "## Validation curve\n\n| tokens seen | minutes | training loss (nats) | held out, bits per byte |\n"
        f"| --- | --- | --- | --- |\n{rows}"
    )


def checked(facts: dict) -> str:
    p = facts["parity"]
    return (
        f"## Files\n\n`onnx/model.onnx` equals PyTorch to {p['withoutCache']:.1e} in logits without cache, "
        f"{p['withCache']:.1e} token by token with it, "
        f"{p['padded']:.1e} with padding at the left. `model.safetensors` is for continuing the training and for "
        "transformers; "
        "`training.json` holds this page's numbers. Whoever shares the model adds the license of the weights and "
        "of the text here."
    )
