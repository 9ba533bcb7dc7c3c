"""The training loop: gradient steps, a validation curve, checkpoints, resuming.

Progress runs from 0 to 1, in tokens or in minutes; the schedule knows nothing else. With a limit in
tokens a run that was interrupted and resumed takes exactly the steps of one that was not.
"""

import json
import math
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from data import Blocks, as_windows
from device import Device
from errors import RecipeError
from model import LanguageModel
from optim import Optimizers, rate_at
from presets import Preset

CHECKPOINT_SECONDS = 300
CURVE_POINTS = 20


@dataclass
class Progress:
    """Where a run stands; all that a resumed run needs beside weights and optimizer state."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    curve_points: int = 0


@dataclass(frozen=True)
class Run:
    preset: Preset
    device: Device
    work: Path
    """Folder of checkpoint.pt and curve.jsonl."""
    minutes: float | None = None
    """Limit in time; without it `preset.tokens` is the limit."""
    stop_after: int | None = None
    """Write a checkpoint and stop after this many steps, for the next run to resume."""
    resume: bool = False
    fingerprint: str = ""
    """Of the training data: a checkpoint of other data is refused."""
    log: Callable[[str], None] = print

    def share_done(self, at: Progress) -> float:
        return min(1.0, at.seconds / (60 * self.minutes) if self.minutes else at.tokens / self.preset.tokens)


def train(model: LanguageModel, tokens: np.ndarray, valid: np.ndarray, valid_bytes: int, run: Run) -> Progress | None:
    """Trains `model` in place. -> the end, or None when stopped before it with a checkpoint left."""
    preset, device, context = run.preset, run.device, model.config.max_position_embeddings
    model.to(device.name)
    optimizers = Optimizers(model, preset)
    at = load_checkpoint(model, optimizers, run) if run.resume else start_afresh(run)
    blocks, loss_of = Blocks(tokens, context, preset.seed), device.loss(model)
    per_step = preset.tokens_per_step // context
    began, saved, stopping = time.monotonic() - at.seconds, time.monotonic(), StopSignal()
    while (done := run.share_done(at)) < 1:
        window = context if done >= preset.long_from else preset.short_window
        inputs, targets = as_windows(blocks.read(at.step * per_step, per_step), window)
        loss = gradient(loss_of, inputs, targets, device)
        optimizers.step(rate_at(preset, at.step, done))
        at = replace(at, step=at.step + 1, tokens=at.tokens + inputs.numel(), seconds=time.monotonic() - began)
        if not math.isfinite(loss):
            raise RecipeError(f"The loss became {loss} at step {at.step}. Lower them: --rate-scale 0.5.")
        if run.share_done(at) * CURVE_POINTS >= at.curve_points + 1:
            at = replace(at, curve_points=int(run.share_done(at) * CURVE_POINTS))
            record_point(model, valid, valid_bytes, at, loss, run)
        stop = stopping.asked or at.step == run.stop_after
        if stop or time.monotonic() - saved > CHECKPOINT_SECONDS:
            save_checkpoint(model, optimizers, at, run)
            saved = time.monotonic()
        if stop and run.share_done(at) < 1:
            run.log(f"stopped at step {at.step}; go on with --resume")
            return None
    save_checkpoint(model, optimizers, at, run)
    return at


def gradient(loss_of: Callable, inputs: torch.Tensor, targets: torch.Tensor, device: Device) -> float:
    """Adds the gradient of the mean loss over (n, T) tokens, in parts that fit the device. -> that loss, in nats."""
    rows, total = max(1, device.tokens_at_once // inputs.shape[1]), 0.0
    for x, y in zip(inputs.split(rows), targets.split(rows)):
        with device.precision():
            loss = loss_of(x.to(device.name), y.to(device.name)) * (len(x) / len(inputs))
        loss.backward()
        total += loss.item()
    return total


@torch.no_grad()
def bits_per_byte(model: LanguageModel, valid: np.ndarray, valid_bytes: int, device: Device) -> float:
    """Of the held-out stream, in windows side by side: comparable along a run, a little above `evaluate.py`,
    whose windows overlap so that every target has context."""
    context, nats, scored = model.config.max_position_embeddings, 0.0, 0
    rows = max(1, device.tokens_at_once // context)
    windows = [torch.from_numpy(valid[i : i + context + 1].astype(np.int64)) for i in range(0, len(valid) - 1, context)]
    for i in range(0, len(windows), rows):
        part = [w for w in windows[i : i + rows] if len(w) == context + 1]
        last = [w for w in windows[i : i + rows] if len(w) != context + 1]
        for batch in ([torch.stack(part)] if part else []) + [w[None] for w in last]:
            batch = batch.to(device.name)
            with device.precision():
                nats += model.loss(batch[:, :-1], batch[:, 1:], reduction="sum").item()
            scored += batch[:, 1:].numel()
    # The first token of the stream has no prediction; its share of the bytes goes with it.
    return nats / math.log(2) / (valid_bytes * scored / len(valid))


def record_point(
    model: LanguageModel, valid: np.ndarray, valid_bytes: int, at: Progress, loss: float, run: Run
) -> None:
    point = {
        "step": at.step,
        "tokens": at.tokens,
        "seconds": round(at.seconds, 1),
        "loss": round(loss, 4),
        "bits_per_byte": round(bits_per_byte(model, valid, valid_bytes, run.device), 4),
    }
    with open(run.work / "curve.jsonl", "a", encoding="utf-8") as out:
        out.write(json.dumps(point) + "\n")
    run.log(
        f"{run.share_done(at):4.0%}  step {at.step:>6}  {at.tokens:>11,} tokens  {at.tokens / at.seconds:>8,.0f} "
        "tokens/s  "
        f"loss {loss:.3f}  held out {point['bits_per_byte']:.3f} bits per byte"
    )


def start_afresh(run: Run) -> Progress:
    (run.work / "curve.jsonl").write_text("")
    return Progress()


def save_checkpoint(model: LanguageModel, optimizers: Optimizers, at: Progress, run: Run) -> None:
    """Replaces checkpoint.pt in one step: a crash leaves the previous one whole."""
    path, partial = run.work / "checkpoint.pt", run.work / "checkpoint.pt.partial"
    torch.save(
        {
            "progress": vars(at),
            "model": model.state_dict(),
            "optimizers": optimizers.state(),
            "fingerprint": run.fingerprint,
            "preset": repr(run.preset),
        },
        partial,
    )
    os.replace(partial, path)


def without_limit(preset: str) -> str:
    """A run may end sooner or later than it set out to: its rates then fall from where it stands."""
    return re.sub(r"\btokens=\d+, ", "", preset)


def load_checkpoint(model: LanguageModel, optimizers: Optimizers, run: Run) -> Progress:
    path = run.work / "checkpoint.pt"
    if not path.is_file():
        raise RecipeError(f"There is no checkpoint {path} to resume from. Start without --resume.")
    saved = torch.load(path, map_location=run.device.name, weights_only=True)
    if saved["fingerprint"] != run.fingerprint:
        raise RecipeError(
            f"{path} was trained on other text or another tokenizer. Give the same --text and --valid, or start "
            "without --resume."
        )
    if without_limit(saved["preset"]) != without_limit(repr(run.preset)):
        raise RecipeError(
            f"{path} was trained with other settings ({saved['preset']}). Give the same ones, or start without "
            "--resume."
        )
    model.load_state_dict(saved["model"])
    optimizers.load(saved["optimizers"])
    at = Progress(**saved["progress"])
    # Points measured after the checkpoint will be measured again.
    curve = [
        line for line in (run.work / "curve.jsonl").read_text().splitlines() if json.loads(line)["step"] <= at.step
    ]
    (run.work / "curve.jsonl").write_text("".join(line + "\n" for line in curve))
    run.log(f"resuming at step {at.step}, {at.tokens:,} tokens")
    return at


class StopSignal:
    """Ctrl-C or a polite kill ends the run after the step in hand; a second one ends it at once."""

    def __init__(self):
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.ask)

    def ask(self, number, _frame) -> None:
        self.asked = True
        signal.signal(number, signal.SIG_DFL)
