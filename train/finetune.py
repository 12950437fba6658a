"""Fine-tunes a text encoder for categories with transformers' Trainer: a head names the category, the vectors stay.

A run measures weighted F1 on held-out products as it goes, keeps the best weights, and goes on after a kill.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from rubrika.encode.base import FloatArray, identity_of, unit_rows
from rubrika.encode.modules import Pooled, best_device, inference_mode
from rubrika.encode.text import CPU_TOKENS, RECIPE, batches_of
from rubrika.errors import EncoderError, RubrikaError, StoppedError
from rubrika.products.product import Product, Products
from rubrika.progress import Advance, Interrupt, Progress
from rubrika.train.model import FinetuneSettings as FinetuneSettings
from rubrika.train.model import StandardisedLinear, load_text_base, seeded
from rubrika.train.validation import IntArray, Moment, hold_out, nearest_categories, weighted_f1, write_history

try:
    # The Trainer needs the one, and the curve the other: better to know before hours of training.
    import accelerate  # noqa: F401
    import matplotlib  # noqa: F401
    from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerState, TrainingArguments
    from transformers import TrainerControl as Control
except ImportError as error:
    raise EncoderError(f"fine-tuning needs {error.name}; pip install 'rubrika[pretrained]'") from None

Inputs = dict[str, torch.Tensor | None]

CHECKPOINTS, RUN = "checkpoints", "run.txt"
# Batches whose products are sorted by length together: enough for little padding, few enough for a mixed order.
WINDOW = 32
KNOWN = 20_000  # products learnt from that the held-out ones look for neighbours among
# These say how long to train and what to write on the way, not what is trained: a resumed run may change them.
_FREE = {"minutes", "patience", "checkpoint_minutes", "checkpoint_steps"}


@dataclass(frozen=True, slots=True)
class Finetuned:
    """What came out of a fine-tuning."""

    folder: Path  # what an encoder is loaded from
    learnt: int  # how many products it learnt from
    held_out: int  # on how many it was measured
    steps: int  # how many it took
    f1: float  # weighted F1 of the best head on the held-out products
    neighbours_f1: float  # weighted F1 of a vote among their neighbours, by the same weights
    history: list[Moment]
    failures: int = 0  # pictures that could not be used

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `rubrika train --json` prints them."""
        return {
            "folder": str(self.folder),
            "learnt": self.learnt,
            "held_out": self.held_out,
            "steps": self.steps,
            "weighted_f1": self.f1,
            "neighbours_weighted_f1": self.neighbours_f1,
            "unusable_pictures": self.failures,
        }


class TextClassifier(nn.Module):
    """A text encoder and a linear head."""

    def __init__(self, encoder: Pooled, head: StandardisedLinear) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors (n, size) and scores of categories (n, categories) of texts (n, tokens)."""
        vectors = self.encoder(ids, mask)
        return vectors, self.head(vectors)


def finetune_text(
    products: Products, base: str, output: Path, settings: FinetuneSettings, progress: Progress
) -> Finetuned:
    """Fine-tune a text encoder; the same call goes on where a run was stopped or killed.

    The base is `rubert`, or the name or folder of a transformers encoder; `output` gets the new encoder, and
    `history.json` and `curve.svg` beside it.
    """
    check_free(output, RECIPE)
    text = load_text_base(base, settings)
    labelled = read_labelled(products, settings, progress)
    tokens = text.tokenise(labelled.texts)
    sample = text.sample([tokens[row] for row in np.flatnonzero(~labelled.held_out)])
    with seeded(settings.seed):
        module = TextClassifier(text.module, StandardisedLinear(sample, labelled.categories))

    def collate(rows: Sequence[int]) -> Inputs:
        ids, mask = text.padded([tokens[row] for row in rows])
        return {"ids": ids, "mask": mask}

    identity = identity_of("text", text.identity, labelled.identity)
    task = Task(module, ("head.",), labelled, [len(row) for row in tokens], collate, identity)
    return fit(task, settings, output, progress, text.save)


def check_free(output: Path, mark: str) -> None:
    """Refuse a folder that holds a finished model."""
    if (output / mark).exists():
        raise EncoderError(f"{output}: a model is already here; choose another folder or delete it")


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labelled products in memory, as each is seen several times."""

    pictures: list[Path | None]  # as far as they are wanted
    texts: list[str]
    labels: IntArray  # their categories coded from 0, (n,)
    categories: int  # how many there are
    held_out: NDArray[np.bool_]  # which to measure on, (n,)
    identity: str  # changes when a product, its text, category or group does


def read_labelled(
    products: Products,
    settings: FinetuneSettings,
    progress: Progress,
    picture_of: Callable[[Product], Path | None] = lambda _: None,
) -> Labelled:
    """Read all labelled products, and hold some out."""
    rows, pictures = [], list[Path | None]()
    with progress.stage("reading products to learn from", len(products)) as advance:
        for batch in products:
            rows += [(p.id, p.text, p.group, p.category.id) for p in batch.products if p.category is not None]
            pictures += [picture_of(p) for p in batch.products if p.category is not None]
            advance(batch.rows)
    known, labels = np.unique(np.array([category for *_, category in rows], np.int64), return_inverse=True)
    if len(known) < 2:
        raise EncoderError(f"fine-tuning needs at least 2 categories, the products have {len(known)}; add others")
    _, texts, groups, _ = map(list, zip(*rows, strict=True))
    held_out = hold_out(groups, settings.holdout, settings.seed)
    return Labelled(pictures, texts, labels, len(known), held_out, identity_of(*map(ascii, rows)))


@dataclass(frozen=True)
class Task:
    """A model to train, and the products to train it on."""

    module: nn.Module  # gives vectors (n, size) and scores of categories (n, categories)
    head: tuple[str, ...]  # how the names of weights begin that start from random numbers
    products: Labelled
    lengths: list[int]  # tokens of each product
    collate: Callable[[Sequence[int]], Inputs]  # rows of the products to the module's inputs
    identity: str  # changes with the model and the products


def fit(
    task: Task, settings: FinetuneSettings, output: Path, progress: Progress, save: Callable[[Path], None]
) -> Finetuned:
    """Train, or go on where a stopped run was; then `save` the best weights into the output folder."""
    folder = (output / CHECKPOINTS).absolute()
    fixed = {name: value for name, value in asdict(settings).items() if name not in _FREE}
    checkpoint = _last_checkpoint(folder, output, identity_of(task.identity, json.dumps(fixed)))
    learnt, held_out = np.flatnonzero(~task.products.held_out), np.flatnonzero(task.products.held_out)
    batches = batches_of_epochs(learnt, np.array(task.lengths), settings)
    with Interrupt() as interrupt, seeded(settings.seed), progress.stage("fine-tuning", len(batches)) as advance:
        pace = _Pace(settings, len(batches), interrupt, advance)
        trainer = _Trainer(task, settings, batches, folder, pace)
        try:
            trainer.train(str(checkpoint) if checkpoint else None)
        except RubrikaError:
            raise
        except Exception as error:  # safetensors, torch and json raise their own kinds.
            if checkpoint is None or trainer.learning:
                raise
            reason = str(error).splitlines()[0]
            raise EncoderError(f"{checkpoint}: it cannot be read ({reason}); delete it to start again") from None
        step = trainer.state.global_step
        if interrupt.requested and pace.done(step) < 1:
            raise StoppedError(
                f"{output}: stopped as asked after step {step:,}; a checkpoint is saved, "
                "run the same command again to go on"
            )
        neighbours_f1 = trainer.neighbours_f1(learnt[:KNOWN], held_out)
    save(output)
    shutil.rmtree(folder)
    f1 = trainer.state.best_metric
    return Finetuned(output, len(learnt), len(held_out), step, f1, neighbours_f1, trainer.history)


def _last_checkpoint(folder: Path, output: Path, identity: str) -> Path | None:
    """The newest complete checkpoint of this run, None when there is none; a kill may have cut the last one short."""
    complete = dict[int, Path]()
    for path in folder.glob("checkpoint-*"):
        # The Trainer writes its state last.
        with suppress(OSError, ValueError):
            complete[json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))["global_step"]] = path
    run = folder / RUN
    ours = run.is_file() or not folder.exists() or not any(folder.iterdir())
    if not ours or (complete and run.read_text(encoding="utf-8") != identity):
        raise EncoderError(
            f"{output}: an unfinished run with another base, other products or settings is here; "
            "repeat it as it was, or choose another folder"
        )
    if complete:
        return complete[max(complete)]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run.write_text(identity, encoding="utf-8")
    return None


class _Pace(EarlyStoppingCallback):  # type: ignore[misc]
    """Decides when a run measures, saves and stops: by steps, by the clock, by early stopping, on Ctrl-C."""

    def __init__(self, settings: FinetuneSettings, steps: int, interrupt: Interrupt, advance: Advance) -> None:
        super().__init__(settings.patience or steps + 1)
        self._settings, self._steps, self._interrupt, self._advance = settings, steps, interrupt, advance
        self._started = self._saved = monotonic()
        self._tenths, self.losses = 0, list[float]()

    @property
    def seconds(self) -> float:
        return monotonic() - self._started

    def done(self, step: float) -> float:
        """The part of the run that is behind, by steps or by time, whichever is further."""
        minutes = self._settings.minutes
        return max(step / self._steps, self.seconds / (minutes * 60) if minutes is not None else 0.0)

    def state(self) -> dict[str, Any]:
        kept: dict[str, Any] = super().state()
        kept["attributes"] |= {"seconds": self.seconds, "losses": self.losses}
        return kept

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: Control, **_: object) -> None:
        kept = state.stateful_callbacks[type(self).__name__]["attributes"]
        self.early_stopping_patience_counter = kept["early_stopping_patience_counter"]
        self._started, self.losses = monotonic() - kept["seconds"], list(kept["losses"])
        self._tenths = int(self.done(state.global_step) * 10)
        if state.best_global_step:
            # The folder may have moved, or be named from elsewhere.
            state.best_model_checkpoint = str(Path(args.output_dir) / f"checkpoint-{state.best_global_step}")
        self._advance(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: Control, **_: object) -> None:
        by, step, done = self._settings, state.global_step, self.done(state.global_step)
        before, self._tenths = self._tenths, int(done * 10)
        due = self._tenths > before if by.validate_steps is None else step % by.validate_steps == 0
        control.should_evaluate |= due or done >= 1
        control.should_training_stop |= done >= 1 or self._interrupt.requested
        control.should_save |= (
            control.should_evaluate
            or self._interrupt.requested
            or (by.checkpoint_steps is not None and step % by.checkpoint_steps == 0)
            or monotonic() - self._saved >= by.checkpoint_minutes * 60
        )
        self._advance(1)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: Control, **_: object) -> None:
        self._saved = monotonic()


class _Trainer(Trainer):  # type: ignore[misc]
    """Trains a task on batches decided beforehand, and measures it on its held-out products."""

    def __init__(
        self, task: Task, settings: FinetuneSettings, batches: list[IntArray], folder: Path, pace: _Pace
    ) -> None:
        device = best_device()
        half = device.type != "cpu" if settings.mixed_precision is None else settings.mixed_precision
        brain_float = device.type == "cpu" or torch.cuda.is_bf16_supported()
        arguments = TrainingArguments(
            str(folder),
            num_train_epochs=1,  # The batches are those of all epochs.
            max_grad_norm=settings.max_grad_norm,
            seed=settings.seed,
            bf16=half and brain_float,
            fp16=half and not brain_float,
            use_cpu=device.type == "cpu",
            # `_Pace` says when to measure and save; the best checkpoint and the last one are kept.
            save_strategy="no",
            save_total_limit=2,
            load_best_model_at_end=True,
            metric_for_best_model="weighted_f1",
            logging_strategy="no",
            log_level="error",
            disable_tqdm=True,
        )
        if arguments.n_gpu > 1:
            arguments._n_gpu = 1  # One GPU is enough; products are not split among several
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, weight in task.module.named_parameters():
            if weight.requires_grad:
                rate = settings.head_learning_rate if name.startswith(task.head) else settings.learning_rate
                groups.setdefault((rate, settings.weight_decay if weight.ndim > 1 else 0.0), []).append(weight)
        parts = [{"params": part, "lr": rate, "weight_decay": decay} for (rate, decay), part in groups.items()]
        adam = torch.optim.AdamW(parts)
        optimisers = adam, LambdaLR(adam, lambda step: rate_at(min(pace.done(step + 0.5), 1), settings.warmup))
        rows = range(len(task.products.labels))
        super().__init__(task.module, arguments, train_dataset=rows, callbacks=[pace], optimizers=optimisers)
        self.remove_callback(PrinterCallback)
        self._task, self._settings, self._batches, self._pace = task, settings, batches, pace
        self.learning = False

    @property
    def history(self) -> list[Moment]:
        logs = [entry for entry in self.state.log_history if "weighted_f1" in entry]
        return [Moment(entry["step"], entry["seconds"], entry["loss"], entry["weighted_f1"]) for entry in logs]

    def get_train_dataloader(self) -> DataLoader[int]:
        def collate(rows: list[int]) -> Inputs:
            return self._task.collate(rows) | {"labels": torch.from_numpy(self._task.products.labels[rows])}

        return DataLoader(self.train_dataset, batch_sampler=self._batches, collate_fn=collate)  # type: ignore[arg-type]

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *_: object, **__: object) -> torch.Tensor:
        """Cross-entropy and, where the settings say so, supervised contrast; the mean over the batch."""
        labels, by = inputs.pop("labels"), self._settings
        vectors, scores = model(**inputs)
        loss = F.cross_entropy(scores.float(), labels)
        if by.contrast:
            loss = loss + by.contrast * supervised_contrast(vectors.float(), labels, by.temperature)
        if not torch.isfinite(loss):
            raise EncoderError("the loss is no longer a number; lower the learning rate")
        self._pace.losses.append(loss.item())
        self.learning = True
        return loss

    def evaluate(self, *_: object, **__: object) -> dict[str, float]:
        rows = np.flatnonzero(self._task.products.held_out)
        f1 = weighted_f1(self._task.products.labels[rows], self._predict(rows)[1])
        loss = float(np.mean(self._pace.losses))
        self.log({"weighted_f1": f1, "loss": loss, "seconds": round(self._pace.seconds, 1)})
        self._pace.losses.clear()
        write_history(Path(self.args.output_dir).parent, self.history)
        metrics = {"eval_weighted_f1": f1}
        self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def neighbours_f1(self, known: IntArray, queries: IntArray) -> float:
        labels, vectors = self._task.products.labels, self._predict(np.concatenate([known, queries]))[0]
        voted = nearest_categories(vectors[: len(known)], labels[known], vectors[len(known) :])
        return weighted_f1(labels[queries], voted)

    def _predict(self, rows: IntArray) -> tuple[FloatArray, IntArray]:
        self.model.eval()
        parts = list(batches_of([self._task.lengths[row] for row in rows], CPU_TOKENS))
        vectors, categories = list[FloatArray](), list[IntArray]()
        with inference_mode(self.args.device):
            for part in parts:
                found, scores = self.model(**self._prepare_inputs(self._task.collate(rows[part].tolist())))
                vectors.append(found.float().cpu().numpy())
                categories.append(scores.argmax(1).cpu().numpy())
        back = np.argsort(np.concatenate(parts))
        return unit_rows(np.concatenate(vectors)[back]), np.concatenate(categories)[back]


def batches_of_epochs(rows: IntArray, lengths: IntArray, settings: FinetuneSettings) -> list[IntArray]:
    """The rows of every step: all rows once an epoch, texts of like length together, the batches shuffled."""
    random = np.random.default_rng(settings.seed)
    steps: list[IntArray] = []
    for _ in range(settings.epochs):
        order, epoch = random.permutation(rows), list[IntArray]()
        for window in np.split(order, range(WINDOW * settings.batch_size, len(order), WINDOW * settings.batch_size)):
            longest_first = window[np.argsort(-lengths[window], kind="stable")]
            while len(longest_first):
                size = int(np.clip(settings.batch_tokens // lengths[longest_first[0]], 1, settings.batch_size))
                epoch.append(longest_first[:size])
                longest_first = longest_first[size:]
        steps += [epoch[i] for i in random.permutation(len(epoch))]
    return steps


def rate_at(done: float, warmup: float) -> float:
    """The part of the full learning rate after a part of the run: a rise, then a straight fall to zero."""
    return done / warmup if done < warmup else (1 - done) / (1 - warmup)


def supervised_contrast(vectors: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """How far products are from others of their category in the batch, if there are any (Khosla et al. 2020, L_out)."""
    unit = F.normalize(vectors)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    logits = (unit @ unit.T / temperature).masked_fill(itself, torch.finfo(unit.dtype).min)
    logs = logits - logits.logsumexp(1, keepdim=True)
    alike = (labels[:, None] == labels) & ~itself
    count = alike.sum(1)
    each = -torch.where(alike, logs, 0.0).sum(1) / count.clamp(min=1)
    return each.sum() / (count > 0).sum().clamp(min=1)
