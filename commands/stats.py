"""`rubrika stats` says what is in files of products, before anything is made of them."""

from pathlib import Path
from typing import Annotated

import typer

from rubrika.commands.options import AsJson, Images, answer, pictures_of


def stats(
    files: Annotated[list[Path], typer.Argument(help="Parquet files of products, labelled or not.", metavar="FILE...")],
    images: Images = None,
    text_encoder: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="Whose tokens to count: learned, rubert, a model's name or folder."),
    ] = None,
    group_by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Count rows that are alike in this column, too.")
    ] = None,
    report: Annotated[Path | None, typer.Option(metavar="DIR", help="Where stats.html and stats.json go.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what is in the files: lengths, categories, duplicates, languages, pictures, and what is missing."""
    from rubrika.commands.overview import overview_text
    from rubrika.files import report_folder
    from rubrika.products.reader import Reader, is_labelled
    from rubrika.stats.lengths import tokens_of
    from rubrika.stats.report import PAGE, write_report
    from rubrika.stats.stats import measure
    from rubrika.terminal import Terminal

    reader = Reader(files, labelled=is_labelled(files), group_by=group_by)
    reader.check()
    if report:
        # Before the work: a place where nothing can be written is known at once.
        report_folder(report)
    found = measure(reader, tokens_of(text_encoder), pictures_of(images), Terminal())
    if report:
        write_report(report, found, files)
    written = f"\n\n{report / PAGE}: the same with charts" if report else ""
    answer(found.to_dict(), as_json, overview_text(found) + written)
