"""Learning encoders from labelled products."""

from importlib.util import find_spec

from rubrika.errors import EncoderError

if find_spec("torch") is None:
    raise EncoderError("learning and training need torch, which is not installed; pip install 'rubrika[train]'")
