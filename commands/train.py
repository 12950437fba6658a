"""`rubrika train`: fine-tunes transformers for the categories of labelled products."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rubrika.commands.options import AsJson, Files, GroupBy, Seed, answer

if TYPE_CHECKING:
    from rubrika.train.finetune import Finetuned

app = typer.Typer(name="train", no_args_is_help=True, help="Fine-tune transformers for your categories.")

Output = Annotated[Path, typer.Option("-o", "--output", help="A new folder for the model.")]
Epochs = Annotated[int, typer.Option(min=1, help="How often every product is seen.")]
Minutes = Annotated[float | None, typer.Option(help="Stop after so long, with the best model so far.")]
Frozen = Annotated[int | None, typer.Option(help="Leave the first N layers as they are: much faster on a CPU.")]
Contrast = Annotated[float, typer.Option(help="The weight of the supervised contrastive term.")]
MaxTokens = Annotated[int | None, typer.Option(help="Longer texts are cut; 300 by default.")]


@app.command()
def text(
    files: Files,
    base: Annotated[str, typer.Option(metavar="SPEC", help="rubert, or a model's name or folder.")] = "rubert",
    output: Output = Path("text-encoder"),
    group_by: GroupBy = None,
    epochs: Epochs = 3,
    minutes: Minutes = None,
    max_tokens: MaxTokens = None,
    freeze_layers: Frozen = None,
    contrast: Contrast = 0.0,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a text encoder; use it with `rubrika ingest --text-encoder FOLDER`."""
    from rubrika.products.reader import Reader
    from rubrika.terminal import Terminal
    from rubrika.train.finetune import FinetuneSettings, finetune_text

    settings = FinetuneSettings(
        epochs=epochs,
        minutes=minutes,
        max_tokens=max_tokens,
        freeze_layers=freeze_layers,
        contrast=contrast,
        seed=seed,
    )
    reader = Reader(files, labelled=True, group_by=group_by)
    _say(finetune_text(reader, base, output, settings, Terminal()), as_json)


@app.command()
def joint(
    files: Files,
    images: Annotated[Path, typer.Option(metavar="DIR", help="Pictures, named by product_id.")],
    text_base: Annotated[str, typer.Option(metavar="SPEC", help="rubert, or a model's name or folder.")] = "rubert",
    image_base: Annotated[str, typer.Option(metavar="SPEC", help="vit, or a model's name or folder.")] = "vit",
    output: Output = Path("joint-encoders"),
    group_by: GroupBy = None,
    epochs: Epochs = 3,
    minutes: Minutes = None,
    max_tokens: MaxTokens = None,
    freeze_layers: Frozen = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a text and a picture encoder together; use the two folders it writes with `rubrika ingest`."""
    from rubrika.products.images import PictureFolder
    from rubrika.products.reader import Reader
    from rubrika.terminal import Terminal
    from rubrika.train.joint import JointSettings, finetune_joint

    settings = JointSettings(
        epochs=epochs, minutes=minutes, max_tokens=max_tokens, freeze_layers=freeze_layers, seed=seed
    )
    reader, pictures = Reader(files, labelled=True, group_by=group_by), PictureFolder.scan(images)
    _say(finetune_joint(reader, pictures, text_base, image_base, output, settings, Terminal()), as_json)


def _say(done: "Finetuned", as_json: bool) -> None:
    found: dict[str, Any] = {
        "folder": str(done.folder),
        "learnt": done.learnt,
        "held_out": done.held_out,
        "steps": done.steps,
        "weighted_f1": done.f1,
        "neighbours_weighted_f1": done.neighbours_f1,
        "unusable_pictures": done.failures,
    }
    text = (
        f"{done.folder}: {done.steps:,} steps on {done.learnt:,} products; weighted F1 on {done.held_out:,} held out: "
        f"{done.f1:.4f} by the head, {done.neighbours_f1:.4f} by neighbours"
    )
    answer(found, as_json, text)
