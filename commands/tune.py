"""`rubrika tune` chooses how an index votes, and measures how far it can be relied on."""

import typer

from rubrika.commands.options import (
    CACHE,
    INDEX,
    MAX_ERROR,
    AsJson,
    Cache,
    Files,
    GroupBy,
    Holdout,
    Images,
    IndexFolder,
    MaxError,
    Seed,
    answer,
    pictures_of,
)


def tune(
    files: Files,
    index: IndexFolder = INDEX,
    images: Images = None,
    cache: Cache = CACHE,
    holdout: Holdout = 0.1,
    group_by: GroupBy = None,
    max_error: MaxError = MAX_ERROR,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Choose on held-out products how the index votes and when it is sure, and keep that in the index."""
    from dataclasses import replace

    from rubrika.commands.tables import tuning_table
    from rubrika.eval.tune import tune as run
    from rubrika.index.folder import Choice, writing
    from rubrika.index.manifest import IMAGE, Manifest
    from rubrika.products.reader import Reader
    from rubrika.terminal import Terminal

    manifest = Manifest.read(index)
    if IMAGE in manifest.vectors and images is None:
        raise typer.BadParameter(f"{index} has picture vectors: say with --images where the pictures are")
    with writing(index, "tune"):
        found = run(
            Reader(files, labelled=True, group_by=group_by),
            Choice.of(manifest),
            cache=cache.expanduser(),
            pictures=pictures_of(images),
            holdout=holdout,
            seed=seed,
            max_error=max_error,
            progress=Terminal(),
        )
        vote = replace(found.vote, unseen_bonus=manifest.vote.unseen_bonus)
        replace(Manifest.read(index), vote=vote, calibration=found.calibration).write(index)
    answer(found.to_dict(), as_json, tuning_table(found))
