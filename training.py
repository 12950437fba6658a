"""The commands `rubrika train text` and `rubrika train joint`, which fine-tune transformers."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from rubrika import display
from rubrika import options as opt
from rubrika.console import arguments_of, print_result, spelled
from rubrika.errors import ParameterError

training = typer.Typer(name="train", no_args_is_help=True, help="Fine-tune transformers for your categories.")


@training.command()
def text(
    context: typer.Context,
    files: opt.Files,
    base: opt.BaseText = "rubert",
    output: Annotated[Path, Option("-o", "--output", help="A new folder for the model.")] = Path("text-encoder"),
    group_by: opt.GroupBy = None,
    epochs: opt.Epochs = 3,
    minutes: opt.Minutes = None,
    max_tokens: opt.MaxTokens = None,
    freeze_layers: opt.FreezeLayers = None,
    contrast: Annotated[float, Option(help="The weight of the supervised contrastive term.")] = 0.0,
    seed: opt.Seed = 0,
    columns: opt.Columns = None,
    as_json: opt.AsJson = False,
) -> None:
    """Fine-tune a text encoder; use it with `rubrika ingest --text-encoder FOLDER`."""
    from rubrika.inputs import columns_of, paths_of
    from rubrika.products.reader import Reader
    from rubrika.train import check_installed

    check_installed("torch", "fine-tuning", "pretrained")
    from rubrika.train.finetune import FinetuneSettings, finetune_text

    settings = FinetuneSettings(**arguments_of(context, "files", "base", "output", "group_by", "columns"))
    reader = Reader(paths_of(files), labelled=True, group_by=group_by, columns=columns_of(columns, None))
    result = finetune_text(reader, base, output, settings, display.Terminal(spelled))
    print_result(result.to_dict(), as_json, lambda: display.format_training(result))


@training.command()
def joint(
    context: typer.Context,
    files: opt.Files,
    images: opt.Images = None,
    text_base: opt.BaseText = "rubert",
    image_base: Annotated[str, Option(metavar="SPEC", help="vit, or a model's name or folder.")] = "vit",
    output: Annotated[Path, Option("-o", "--output", help="A new folder for both.")] = Path("joint-encoders"),
    group_by: opt.GroupBy = None,
    epochs: opt.Epochs = 3,
    minutes: opt.Minutes = None,
    max_tokens: opt.MaxTokens = None,
    freeze_layers: opt.FreezeLayers = None,
    seed: opt.Seed = 0,
    columns: opt.Columns = None,
    as_json: opt.AsJson = False,
) -> None:
    """Fine-tune a text and a picture encoder together; use the two folders it writes with `rubrika ingest`."""
    from rubrika.inputs import columns_of, paths_of, pictures_of
    from rubrika.products.reader import Reader
    from rubrika.train import check_installed

    check_installed("torch", "fine-tuning", "pretrained")
    from rubrika.train.joint import JointSettings, finetune_joint

    others = ("files", "images", "text_base", "image_base", "output", "group_by", "columns")
    settings = JointSettings(**arguments_of(context, *others))
    reader = Reader(paths_of(files), labelled=True, group_by=group_by, columns=columns_of(columns, None))
    pictures = pictures_of(images, reader)
    if pictures is None:
        raise ParameterError("give `images`, the folder of the pictures, or a file with pictures in its rows")
    result = finetune_joint(reader, pictures, text_base, image_base, output, settings, display.Terminal(spelled))
    print_result(result.to_dict(), as_json, lambda: display.format_training(result))
