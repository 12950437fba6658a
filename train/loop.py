"""Trains a task step by step: measures on held-out products, keeps the best weights, resumes after a kill.

Imports torch: import it where used.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from rubrika.encode.modules import best_device
from rubrika.errors import EncoderError
from rubrika.progress import Progress
from rubrika.train.checkpoint import State, load_checkpoint, save_checkpoint, trained_weights
from rubrika.train.curve import Moment, write_history
from rubrika.train.loss import category_loss
from rubrika.train.schedule import IntArray, batches_of_epochs, rate_at
from rubrika.train.settings import FinetuneSettings
from rubrika.train.task import Task


def fit(task: Task, settings: FinetuneSettings, folder: Path, progress: Progress) -> State:
    """Train, or go on where a killed run was; at the end the module has its best weights.

    On a CPU and without a limit of time, a run that was killed and resumed ends as one that was not.

    Args:
        task: what to train.
        settings: how.
        folder: for checkpoint, history and curve.
        progress: where to show how far it is.

    Raises:
        EncoderError: the folder holds another run, or the loss is no longer a number.
    """
    stepper = _Stepper(task, settings)
    state = load_checkpoint(folder, task.identity, task.module, stepper.optimiser)
    if state.scaler:
        stepper.scaler.load_state_dict(state.scaler)
    batches = batches_of_epochs(np.flatnonzero(~task.held_out), task.lengths, settings)
    started, saved = time.monotonic() - state.seconds, time.monotonic()
    with seeded(settings.seed), progress.stage("fine-tuning", len(batches)) as advance:
        advance(state.step)
        done = _done(state, len(batches), settings)
        while done < 1:
            # A seed a step, so that a resumed run draws the same dropout.
            torch.manual_seed(settings.seed * 1_000_003 + state.step)
            rate = rate_at(min(done + 0.5 / len(batches), 1), settings.warmup)
            state.losses.append(stepper.step(batches[state.step], rate))
            state.step += 1
            state.seconds = time.monotonic() - started
            before, done = done, _done(state, len(batches), settings)
            if _measure_now(before, done, state.step, settings):
                _measure(task, state, folder)
            if done < 1 and _save_now(time.monotonic() - saved, state.step, settings):
                state.scaler = stepper.scaler.state_dict()
                save_checkpoint(folder, task.identity, state, task.module, stepper.optimiser)
                saved = time.monotonic()
            advance(1)
        if state.losses:
            _measure(task, state, folder)
    task.module.load_state_dict(state.best, strict=False)
    return state


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw torch's random numbers from a seed, and leave those of the caller as they were."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


class _Stepper:
    """Moves a task's weights against the gradient of its loss."""

    def __init__(self, task: Task, settings: FinetuneSettings) -> None:
        self._task, self._settings = task, settings
        self._device = best_device()
        self._half = _half(self._device, settings)
        self._labels = torch.from_numpy(task.labels).to(self._device)
        task.module.to(self._device)
        self.scaler = torch.amp.GradScaler(self._device.type, enabled=self._half is torch.float16)
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, weight in task.module.named_parameters():
            if weight.requires_grad:
                rate = settings.head_rate if name.startswith(task.fresh) else settings.rate
                # Biases and the scales of norms are not pulled to nothing.
                decay = settings.decay if weight.ndim > 1 else 0.0
                groups.setdefault((rate, decay), []).append(weight)
        self.optimiser = torch.optim.AdamW(
            [{"params": part, "full": rate, "weight_decay": decay} for (rate, decay), part in groups.items()]
        )

    def step(self, rows: IntArray, rate: float) -> float:
        """Learn from some rows at a part of the full rate; gives their loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = group["full"] * rate
        self._task.module.train()
        with torch.autocast(self._device.type, self._half, enabled=self._half is not None):
            vectors, scores = self._task.forward(rows)
        contrast, temperature = self._settings.contrast, self._settings.temperature
        loss = category_loss(vectors, scores, self._labels[rows], contrast, temperature)
        if not math.isfinite(loss.item()):
            raise EncoderError("the loss is no longer a number; lower the learning rate")
        self.optimiser.zero_grad()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimiser)
        weights = [weight for group in self.optimiser.param_groups for weight in group["params"]]
        nn.utils.clip_grad_norm_(weights, self._settings.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return loss.item()


def _half(device: torch.device, settings: FinetuneSettings) -> torch.dtype | None:
    on_gpu = device.type != "cpu"
    if not (on_gpu if settings.half is None else settings.half):
        return None
    return torch.float16 if on_gpu and not torch.cuda.is_bf16_supported() else torch.bfloat16


def _done(state: State, steps: int, settings: FinetuneSettings) -> float:
    """The part of the way that is behind, by steps or by time, whichever is further."""
    spent = state.seconds / (settings.minutes * 60) if settings.minutes is not None else 0.0
    return max(state.step / steps, spent)


def _measure_now(before: float, done: float, step: int, settings: FinetuneSettings) -> bool:
    if settings.validate_steps is not None:
        return step % settings.validate_steps == 0
    return int(done * 10) > int(before * 10)


def _measure(task: Task, state: State, folder: Path) -> None:
    f1 = task.head_f1()
    # Among equals the later, which has seen more.
    if f1 >= state.best_f1:
        state.best = {name: weight.cpu().clone() for name, weight in trained_weights(task.module).items()}
    loss = sum(state.losses) / len(state.losses)
    state.history.append(Moment(state.step, round(state.seconds, 1), loss, f1))
    state.losses.clear()
    write_history(folder, state.history)


def _save_now(seconds: float, step: int, settings: FinetuneSettings) -> bool:
    by_step = settings.checkpoint_steps is not None and step % settings.checkpoint_steps == 0
    return by_step or seconds >= settings.checkpoint_minutes * 60
