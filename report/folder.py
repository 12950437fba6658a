"""The folder of a report, made before the work whose report it will hold."""

from pathlib import Path
from tempfile import NamedTemporaryFile

from rubrika.errors import InputError


def report_folder(folder: Path) -> Path:
    """The folder of a report, made if it is not there.

    Raises:
        InputError: nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{folder}: no report can be written there ({error.strerror}); choose another --report"
        ) from None
    return folder
