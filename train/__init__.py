"""Learning encoders from labelled products; whatever learns needs numba, and fine-tuning needs torch."""

from importlib.util import find_spec

from rubrika.errors import EncoderError


def check_installed(package: str, what: str = "learning", extra: str = "train") -> None:
    """EncoderError where a package is missing that an extra brings."""
    if find_spec(package) is None:
        raise EncoderError(f"{what} needs {package}; pip install 'rubrika[{extra}]'")


check_installed("numba")
