"""RESULTS.md, the model's card: written from what the run recorded, so that no number is typed by hand."""

import json
from pathlib import Path

from model import LanguageModel
from presets import Preset
from train import Progress


def write_card(folder: Path, model: LanguageModel, preset: Preset, end: Progress, facts: dict) -> None:
    """`facts`: data, one_in, device, precision, compiled, minutes, started_from, parity, weights, evaluation, evaluations,
    curve, license, text_license, versions."""
    sections = [
        title(folder, model),
        trained(preset, end, facts),
        evaluated(facts),
        curve(facts["curve"]),
        checked(facts),
        limits(model),
        licenses(facts),
    ]
    (folder / "RESULTS.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    (folder / "training.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def title(folder: Path, model: LanguageModel) -> str:
    c = model.config
    count = sum(p.numel() for p in model.parameters())
    return (
        f"# {folder.resolve().name}\n\nA base language model made with knnlm's `training/` recipe: {count:,} "
        f"parameters, LLaMA architecture, width {c.hidden_size}, {c.num_hidden_layers} layers, "
        f"{c.num_attention_heads} heads of {c.head_dim} ({c.num_key_value_heads} for keys and values), "
        f"feed-forward {c.intermediate_size} (SwiGLU), RMSNorm {c.rms_norm_eps:g}, rotary base {c.rope_theta:,.0f}, "
        f"context {c.max_position_embeddings}, tied embeddings, vocabulary {c.vocab_size:,}. "
        f"A document begins with token {c.bos_token_id} and ends with token {c.eos_token_id}."
    )


def trained(preset: Preset, end: Progress, facts: dict) -> str:
    data = facts["data"]
    limit = f"a limit of {facts['minutes']:g} minutes" if facts["minutes"] else f"a limit of {preset.tokens:,} tokens"
    origin = f"Continued from `{facts['started_from']}`" if facts["started_from"] else "Trained from scratch"
    share = f"one in {facts['one_in']} of the documents given, " if facts["one_in"] > 1 else ""
    compiled = ", compiled" if facts["compiled"] else ""
    return (
        f"## Training\n\n{origin} on {share}{data['documents']:,} documents, {data['tokens']:,} tokens; "
        f"{end.tokens:,} tokens seen in {end.step:,} steps and {end.seconds / 60:.1f} minutes ({limit}), "
        f"{end.tokens / data['tokens']:.2f} passes over the text. "
        f"Device: {facts['device']}{compiled}; matrix products in {facts['precision']}, weights in fp32.\n\n"
        f"Matrices by {matrices_by(preset)}, embeddings and norms by Adam (rate {preset.adam_rate:g}, "
        f"betas {preset.adam_betas[0]:g} and {preset.adam_betas[1]:g}); "
        f"{preset.tokens_per_step:,} tokens a step; windows of {preset.short_window}, from {preset.long_from:.0%} "
        f"of the run on the whole context; warm-up of {preset.warmup_steps} steps, constant rate to "
        f"{preset.constant_until:.0%}, then linear to {preset.final_rate:.0%}; seed {preset.seed}. "
        f"Versions: {', '.join(f'{name} {version}' for name, version in facts['versions'].items())}."
    )


def matrices_by(preset: Preset) -> str:
    if preset.optimizer == "adamw":
        return f"AdamW (rate {preset.adamw_rate:g}, decay {preset.decay:g})"
    return (
        f"Muon (rate {preset.muon_rate:g}, momentum {preset.muon_momentum:g}, five Newton-Schulz steps, "
        f"decay {preset.decay:g})"
    )


def evaluated(facts: dict) -> str:
    """Held-out documents up to a limit of length, then the texts of --evaluate whole."""
    rows = [{"text": "held out, its first documents"} | facts["evaluation"], *facts["evaluations"]]
    lines = (
        f"| {e['text']} | {e['documents']:,} | {e['tokens']:,} | {e['perplexity']:.2f} | {e['bitsPerByte']:.4f} |"
        for e in rows
    )
    return (
        "## Perplexity\n\nOf the model alone, on documents that it has not read (BOS + text, windows overlapping by "
        "half, every target once, end of document included), PyTorch fp32:\n\n"
        "| text | documents | tokens | perplexity per token | bits per byte |\n| --- | --- | --- | --- | --- |\n"
        + "\n".join(lines)
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
    halves = " Its matrices are rounded to fp16, here as well." if facts["weights"] == "fp16" else ""
    return (
        f"## Files\n\n`onnx/model.onnx` equals PyTorch to {p['withoutCache']:.1e} in logits without cache, "
        f"{p['withCache']:.1e} token by token with it, {p['padded']:.1e} with padding at the left.{halves} "
        "`model.safetensors` is for continuing the training and for transformers; "
        "`training.json` holds this page's numbers."
    )


def limits(model: LanguageModel) -> str:
    return (
        "## Limits\n\nIt knows the kind of text above and nothing else, and continues text; it follows no instructions "
        "and has had no safety training. What it says of people, dates and facts is made up, and it repeats the biases of its text. "
        f"It sees {model.config.max_position_embeddings:,} tokens at a time."
    )


def licenses(facts: dict) -> str:
    weights = facts["license"] or "not stated; whoever shares the model says it here"
    text = facts["text_license"] or "not stated; whoever shares the model says it here"
    return f"## License\n\nWeights: {weights}. Text: {text}."
