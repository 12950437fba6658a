"""Learning encoders from labelled products; whatever learns needs torch."""

from importlib.util import find_spec

from rubrika.errors import EncoderError

if find_spec("torch") is None:
    raise EncoderError("learning needs torch; pip install 'rubrika[train]'")
