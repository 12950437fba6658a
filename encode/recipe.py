"""How a transformer's vectors are to be made: the settings that a fine-tuned folder carries as `rubrika.json`."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from rubrika.errors import EncoderError

Pooling = Literal["pooler", "mean", "cls"]
RECIPE = "rubrika.json"


@dataclass(frozen=True)
class Recipe:
    """How texts become vectors.

    Args:
        pooling: `pooler`, the output of the model's own dense layer over its first token; `mean` of the tokens; `cls`,
            the first token.
        max_tokens: longer texts are cut.
        prompt: what every text is preceded by, such as `query: `.
    """

    pooling: Pooling = "mean"
    max_tokens: int = 300
    prompt: str = ""

    def save(self, folder: Path) -> None:
        """Write `rubrika.json` beside a model."""
        (folder / RECIPE).write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Recipe":
        """Read the `rubrika.json` of a folder.

        Raises:
            EncoderError: it cannot be used.
        """
        try:
            recipe = cls(**json.loads((folder / RECIPE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise EncoderError(f"{folder / RECIPE} cannot be read ({error})") from None
        if recipe.pooling not in get_args(Pooling):
            raise EncoderError(
                f"{folder / RECIPE}: pooling is one of {', '.join(get_args(Pooling))}, not {recipe.pooling}"
            )
        if not isinstance(recipe.max_tokens, int) or recipe.max_tokens < 1 or not isinstance(recipe.prompt, str):
            raise EncoderError(f"{folder / RECIPE}: max_tokens is a number from 1 up, prompt a text")
        return recipe
