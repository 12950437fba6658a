"""Fine-tuning of tiny models: what is learnt, what is kept, and what a kill in the middle costs."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import transformers
from models import save_bert
from PIL import Image
from safetensors.numpy import load_file

from rubrika.encode.base import FloatArray, unit_rows
from rubrika.encode.registry import picture_encoder, text_encoder
from rubrika.errors import EncoderError, StoppedError
from rubrika.eval.metrics import metrics_of
from rubrika.products.images import PictureFolder, open_picture
from rubrika.products.product import Batch, Category, Product
from rubrika.progress import Advance, Silent
from rubrika.train.finetune import (
    Finetuned,
    FinetuneSettings,
    batches_of_epochs,
    finetune_text,
    rate_at,
    supervised_contrast,
)
from rubrika.train.joint import JointSettings, finetune_joint
from rubrika.train.validation import Moment, hold_out, nearest_categories, write_history

KINDS = ["кроссовки беговые", "чехол силиконовый", "корм для кошек", "шапка зимняя", "платье летнее"]
EXTRAS = ["женские", "прозрачный", "сухой", "из хлопка", "с рисунком", "длинное", "2 кг"]
QUICK = FinetuneSettings(epochs=4, batch_size=16, learning_rate=1e-3, head_learning_rate=1e-2, max_tokens=24)


class Shelf:
    """Products in one batch."""

    def __init__(self, products: list[Product]) -> None:
        self.products = products

    def __len__(self) -> int:
        return len(self.products)

    def __iter__(self) -> Iterator[Batch]:
        yield Batch(Path("shelf.parquet"), self.products, [])

    def check(self) -> None:
        pass


class Killer(Silent):
    """Ends this process as a power cut would, after so many steps of training."""

    def __init__(self, after: int) -> None:
        self.after = after

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        done = 0

        def advance(steps: int) -> None:
            nonlocal done
            done += steps
            if title == "fine-tuning" and done == self.after:
                os.kill(os.getpid(), signal.SIGKILL)

        yield advance


class Recorder(Silent):
    """Remembers the steps of training that it was told of."""

    def __init__(self, seen: list[int]) -> None:
        self.seen = seen

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        yield self.seen.append if title == "fine-tuning" else lambda steps: None


def shelf(count: int = 200, kinds: int = len(KINDS)) -> Shelf:
    """Every title says its category, among other words in any order."""
    random = np.random.default_rng(5)
    products = []
    for place in range(count):
        words = [*KINDS[place % kinds].split(), *random.choice(EXTRAS, 2)]
        title = " ".join(random.permutation(words))
        products.append(
            Product(place + 1, title, title, place + 1, Category(place % kinds + 100, KINDS[place % kinds]))
        )
    return Shelf(products)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small only wait for one another's threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def tuned(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Finetuned:
    return finetune_text(shelf(), str(bert), tmp_path_factory.mktemp("tuned") / "model", QUICK, Silent())


def weights(folder: Path) -> dict[str, FloatArray]:
    return load_file(folder / "model.safetensors")


def assert_same(one: Path, other: Path) -> None:
    assert weights(one).keys() == weights(other).keys()
    for name, weight in weights(one).items():
        np.testing.assert_array_equal(weight, weights(other)[name], err_msg=name)


def test_held_out_products_are_told_apart_far_above_chance(tuned: Finetuned) -> None:
    assert (tuned.learnt, tuned.held_out) == (180, 20)
    assert tuned.history[0].f1 < tuned.f1
    assert tuned.f1 > 0.8
    assert tuned.neighbours_f1 > 0.8
    assert tuned.history[0].loss > tuned.history[-1].loss


def test_the_folder_is_an_encoder_that_draws_categories_apart(tuned: Finetuned, bert: Path) -> None:
    products = shelf().products
    labels = np.array([product.category.id for product in products if product.category])
    alike = labels[:, None] == labels

    def margin(folder: Path) -> float:
        vectors = text_encoder(str(folder)).encode([product.text for product in products])
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        cosine = vectors @ vectors.T
        return float(cosine[alike].mean() - cosine[~alike].mean())

    assert margin(tuned.folder) > 1.2 * margin(bert)


def test_with_contrast_other_weights_are_learnt_as_well(tuned: Finetuned, bert: Path, tmp_path: Path) -> None:
    contrasted = finetune_text(shelf(), str(bert), tmp_path, replace(QUICK, contrast=0.5), Silent())
    assert contrasted.f1 > 0.8
    one, other = (weights(done.folder)["encoder.layer.1.output.dense.weight"] for done in (tuned, contrasted))
    assert not np.array_equal(one, other)


def test_history_and_curve_are_written_and_nothing_else_is_left(tuned: Finetuned) -> None:
    history = [Moment(**moment) for moment in json.loads((tuned.folder / "history.json").read_text())]
    assert history == tuned.history
    assert [moment.step for moment in history] == sorted({moment.step for moment in history})
    assert history[-1].step == tuned.steps
    picture = ElementTree.parse(tuned.folder / "curve.svg")  # noqa: S314 - our own
    assert {"f1", "loss"} <= {group.get("id") for group in picture.iterfind(".//{*}g")}
    assert {path.suffix for path in tuned.folder.iterdir()} == {".json", ".safetensors", ".svg"}


def test_a_curve_of_one_moment_is_drawn_and_the_same_history_gives_the_same_bytes(tmp_path: Path) -> None:
    drawn = []
    for _ in range(2):
        write_history(tmp_path, [Moment(1, 0.1, 0.0, 0.0)])
        drawn.append((tmp_path / "curve.svg").read_bytes())
    assert b"0.000 at step 1" in drawn[0]
    assert drawn[0] == drawn[1]


def test_killed_and_resumed_it_ends_as_if_nothing_had_been(bert: Path, tuned: Finetuned, tmp_path: Path) -> None:
    settings = replace(QUICK, checkpoint_steps=10)
    script = (
        "import sys; sys.path[:0] = sys.argv[1:3]; import test_finetune as t\n"
        "settings = t.replace(t.QUICK, checkpoint_steps=10)\n"
        "t.finetune_text(t.shelf(), sys.argv[3], t.Path(sys.argv[4]), settings, t.Killer(27))"
    )
    arguments = [str(Path(__file__).parent), str(Path(__file__).parents[1]), str(bert), str(tmp_path / "model")]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    killed = subprocess.run(
        [sys.executable, "-c", script, *arguments], env=environment, capture_output=True, timeout=120
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "model" / "model.safetensors").exists()

    with pytest.raises(EncoderError, match="an unfinished run with another base, other products or settings is here"):
        finetune_text(shelf(), str(bert), tmp_path / "model", replace(settings, learning_rate=1e-5), Silent())
    seen: list[int] = []
    resumed = finetune_text(shelf(), str(bert), tmp_path / "model", settings, Recorder(seen))
    # Every 10 steps, and at every measurement: the newest is that of step 24.
    assert seen[0] == 24
    assert (resumed.f1, resumed.steps) == (tuned.f1, tuned.steps)
    assert [moment.loss for moment in resumed.history] == [moment.loss for moment in tuned.history]
    assert resumed.steps > 27
    assert_same(resumed.folder, tuned.folder)
    assert not (tmp_path / "model" / "checkpoints").exists()


class Presser(Silent):
    """Presses Ctrl-C after so many steps of training."""

    def __init__(self, after: int) -> None:
        self.after = after

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        done = 0

        def advance(steps: int) -> None:
            nonlocal done
            done += steps
            if title == "fine-tuning" and done == self.after:
                os.kill(os.getpid(), signal.SIGINT)

        yield advance


def test_ctrl_c_saves_a_checkpoint_and_the_same_call_goes_on(bert: Path, tuned: Finetuned, tmp_path: Path) -> None:
    output, before = tmp_path / "model", signal.getsignal(signal.SIGINT)
    with pytest.raises(StoppedError, match="stopped as asked after step 8; a checkpoint is saved, run the same"):
        finetune_text(shelf(), str(bert), output, QUICK, Presser(7))
    assert signal.getsignal(signal.SIGINT) is before
    seen: list[int] = []
    resumed = finetune_text(shelf(), str(bert), output.rename(tmp_path / "moved"), QUICK, Recorder(seen))
    assert seen[0] == 8 < max(resumed.history, key=lambda moment: moment.f1).step
    assert [(m.step, m.loss, m.f1) for m in resumed.history] == [(m.step, m.loss, m.f1) for m in tuned.history]
    assert_same(resumed.folder, tuned.folder)


@pytest.fixture(scope="module")
def stopped(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run leaves that was stopped in its first step, to be copied."""
    folder = tmp_path_factory.mktemp("stopped") / "model"
    with pytest.raises(StoppedError):
        finetune_text(shelf(), str(bert), folder, QUICK, Presser(1))
    return folder


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "rng_state.pth"])
def test_a_damaged_checkpoint_is_one_sentence(bert: Path, stopped: Path, tmp_path: Path, name: str) -> None:
    output = Path(shutil.copytree(stopped, tmp_path / "model"))
    (output / "checkpoints" / "checkpoint-2" / name).write_bytes(b"no checkpoint")
    with pytest.raises(EncoderError, match="cannot be read .* delete it to start again") as caught:
        finetune_text(shelf(), str(bert), output, QUICK, Silent())
    assert "\n" not in str(caught.value)


def test_a_folder_of_others_checkpoints_is_left_alone(bert: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    (tmp_path / "checkpoints" / "checkpoint-1" / "model.bin").write_bytes(b"somebody's")
    with pytest.raises(EncoderError, match="an unfinished run with another base"):
        finetune_text(shelf(), str(bert), tmp_path, QUICK, Silent())
    assert (tmp_path / "checkpoints" / "checkpoint-1" / "model.bin").exists()


def test_nothing_is_unpickled_from_a_checkpoint(bert: Path, stopped: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "executed",)

    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        output = Path(shutil.copytree(stopped, tmp_path / name))
        torch.save({"state": Evil(), "python": Evil()}, output / "checkpoints" / "checkpoint-2" / name)
        with pytest.raises(EncoderError, match="cannot be read .* delete it to start again"):
            finetune_text(shelf(), str(bert), output, QUICK, Silent())
    assert not (tmp_path / "executed").exists()


def test_a_checkpoint_cut_short_is_passed_over(bert: Path, tmp_path: Path) -> None:
    short = replace(QUICK, epochs=1)
    with pytest.raises(StoppedError):
        finetune_text(shelf(), str(bert), tmp_path, short, Presser(1))
    (tmp_path / "checkpoints" / "checkpoint-9").mkdir()
    (tmp_path / "checkpoints" / "checkpoint-9" / "model.safetensors").write_bytes(b"")
    seen: list[int] = []
    finetune_text(shelf(), str(bert), tmp_path, short, Recorder(seen))
    assert seen[0] == 2


def test_early_stopping_ends_with_the_best_model(bert: Path, tuned: Finetuned, tmp_path: Path) -> None:
    # Weights that hardly move cannot become better for long.
    still = replace(QUICK, learning_rate=1e-9, head_learning_rate=1e-9, patience=2)
    done = finetune_text(shelf(), str(bert), tmp_path, still, Silent())
    assert done.steps < tuned.steps
    best = max(done.history, key=lambda moment: moment.f1)
    assert [moment for moment in done.history if moment.step > best.step] == done.history[-2:]
    assert done.f1 == best.f1


def test_a_finished_model_is_not_overwritten(tuned: Finetuned, bert: Path) -> None:
    with pytest.raises(EncoderError, match="a model is already here"):
        finetune_text(shelf(), str(bert), tuned.folder, QUICK, Silent())


def test_the_pooler_is_trained_and_kept_and_frozen_layers_stay(bert: Path, tmp_path: Path) -> None:
    settings = replace(QUICK, epochs=1, pooling="pooler", freeze_layers=1, contrast=0.5)
    folder = finetune_text(shelf(), str(bert), tmp_path, settings, Silent()).folder
    before, after = weights(bert), weights(folder)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert before.keys() == after.keys()
    assert "pooler.dense.weight" in changed
    assert any(name.startswith("encoder.layer.1.") for name in changed)
    assert not any(name.startswith(("embeddings.", "encoder.layer.0.")) for name in changed)
    assert text_encoder(str(folder)).size == 32


def test_a_fine_tuned_folder_can_be_fine_tuned_again(tuned: Finetuned, tmp_path: Path) -> None:
    again = finetune_text(shelf(), str(tuned.folder), tmp_path, replace(QUICK, epochs=1, max_tokens=None), Silent())
    assert again.history[0].f1 > 0.8
    assert json.loads((again.folder / "rubrika.json").read_text())["max_tokens"] == 24


def test_time_ends_training_and_half_precision_is_no_obstacle(bert: Path, tmp_path: Path) -> None:
    settings = replace(QUICK, epochs=10_000, minutes=0.02, mixed_precision=True)
    done = finetune_text(shelf(), str(bert), tmp_path, settings, Silent())
    assert 1 <= done.steps < 10_000
    assert done.history[-1].step == done.steps


def test_products_that_belong_together_are_held_out_together() -> None:
    groups = [f"g{place // 4}" if place < 80 else "" for place in range(120)]
    held_out = hold_out(groups, 0.25, 0)
    assert 24 <= held_out.sum() <= 30
    assert held_out[80:].any()
    assert not held_out[80:].all()
    assert all(len(set(held_out[place : place + 4])) == 1 for place in range(0, 80, 4))
    with pytest.raises(EncoderError, match="leaves none to learn from"):
        hold_out(["g"] * 9, 0.1, 0)


def test_batches_hold_every_row_once_an_epoch_and_keep_to_the_budget() -> None:
    lengths = np.random.default_rng(1).integers(1, 60, 300)
    rows = np.arange(0, 300, 2)
    settings = FinetuneSettings(epochs=2, batch_size=8, batch_tokens=100)
    steps = batches_of_epochs(rows, lengths, settings)
    assert sorted(np.concatenate(steps).tolist()) == sorted([*rows, *rows])
    assert all(len(step) <= 8 and (len(step) == 1 or len(step) * lengths[step].max() <= 100) for step in steps)
    assert not np.array_equal(steps[0], batches_of_epochs(rows, lengths, replace(settings, seed=1))[0])


def test_the_rate_rises_and_falls() -> None:
    assert [rate_at(done, 0.1) for done in (0, 0.05, 0.1, 0.55, 1)] == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_contrast_is_small_when_alike_products_are_near() -> None:
    vectors = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9], [1.0, 1.0]], requires_grad=True)
    together = supervised_contrast(vectors, torch.tensor([0, 0, 1, 1, 2]), 0.1)
    apart = supervised_contrast(vectors, torch.tensor([0, 1, 0, 1, 2]), 0.1)
    assert together.item() < 0.1 < 5 < apart.item()
    alone = supervised_contrast(vectors, torch.arange(5), 0.1)
    alone.backward()
    assert alone.item() == 0
    assert torch.isfinite(vectors.grad).all()


@pytest.mark.parametrize(
    ("base", "reason"),
    [
        ("rubert", "the model hub cannot be reached and DeepPavlov/rubert-base-cased-sentence is not on this disk"),
        ("./no-such-folder", "there is no folder ./no-such-folder"),
        ("кеды и кроссовки", "is neither a folder nor a model's name"),
    ],
)
def test_a_base_that_cannot_be_had_is_one_sentence(base: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=reason) as caught:
        finetune_text(shelf(), base, tmp_path / "model", QUICK, Silent())
    assert str(caught.value).startswith(f"{base}: ")
    assert str(caught.value).endswith("give the name or the folder of a transformers encoder")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_what_cannot_be_done_is_refused_before_it_takes_time(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="3 layers cannot be frozen, bert.* has 2; freeze fewer"):
        finetune_text(shelf(), str(bert), tmp_path, replace(QUICK, freeze_layers=3), Silent())
    with pytest.raises(EncoderError, match="at least 2 categories, the products have 1"):
        finetune_text(shelf(kinds=1), str(bert), tmp_path, QUICK, Silent())
    bare = save_bert(tmp_path / "bare", pooler=False)
    with pytest.raises(EncoderError, match="its files lack 2 of the model's weights, such as pooler"):
        finetune_text(shelf(), str(bare), tmp_path, replace(QUICK, pooling="pooler"), Silent())


@pytest.fixture(scope="module")
def eye(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("eye")
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    transformers.ViTModel(transformers.ViTConfig(image_size=32, patch_size=8, **shape)).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_pictures_tell_apart_what_titles_do_not(bert: Path, eye: Path, tmp_path: Path) -> None:
    """Shoes and hats are told apart by their titles, red ones and blue ones by their pictures only."""
    colours = {0: (200, 40, 40), 1: (40, 40, 200)}
    random, products = np.random.default_rng(4), []
    (tmp_path / "pictures").mkdir()
    for place in range(160):
        kind, colour = place % 2, place // 2 % 2
        category = Category(kind * 2 + colour, "Все категории->Обувь")
        title = f"{KINDS[kind * 3]} {random.choice(EXTRAS)}"
        key, file = (f"SKU-{place}", f"SKU-{place}.png") if place % 3 else ("", f"{place + 1}.png")
        pixels = np.clip(np.array(colours[colour]) + random.integers(-30, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
        # Some are called by a number, some by a text, and some are in the rows.
        if place != 9:
            Image.fromarray(pixels).save(tmp_path / "pictures" / file)
        inside = (tmp_path / "pictures" / file).read_bytes() if place % 5 == 1 else ""
        if inside or place == 12:
            (tmp_path / "pictures" / file).write_bytes(b"no picture")
        products.append(Product(place + 1, title, title, place + 1, category, key=key, image=inside))
    pictures = PictureFolder.scan(tmp_path / "pictures")
    settings = JointSettings(
        epochs=6,
        batch_size=16,
        learning_rate=1e-3,
        head_learning_rate=1e-2,
        size=16,
        holdout=0.2,
        freeze_layers=0,
        # To the end, whatever the first weights: how a run stops early is told by a test of its own.
        patience=None,
    )

    done = finetune_joint(Shelf(products), pictures, str(bert), str(eye), tmp_path / "both", settings, Silent())
    assert done.f1 > 0.9
    assert done.neighbours_f1 > 0.9
    assert done.failures == 1
    assert (tmp_path / "both" / "curve.svg").is_file()
    before, after = weights(eye), weights(tmp_path / "both" / "image")
    changed = {name for name in after if not np.array_equal(before[name], after[name])}
    assert changed
    assert not any(name.startswith("embeddings.") for name in changed)

    chosen = [product for product in products if product.id not in {10, 13}]
    texts = text_encoder(str(tmp_path / "both" / "text")).encode([product.text for product in chosen])
    opened = [open_picture(pictures.find(product.own_id, product.image) or b"") for product in chosen]
    looks = picture_encoder(str(tmp_path / "both" / "image")).encode(opened)
    labels = np.array([product.category.id for product in chosen if product.category])

    def f1(vectors: FloatArray) -> float:
        return metrics_of(labels[:60], nearest_categories(vectors[60:], labels[60:], vectors[:60])).weighted_f1

    assert f1(texts) < 0.7 < 0.95 < f1(unit_rows(np.hstack([texts, looks])))
