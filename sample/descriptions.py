"""Descriptions as sellers paste them: sentences in all the ways of HTML the real cards show."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rubrika.sample.dice import Dice

PICTURE_HOST = "https://pictures.example/description"


def describe(dice: Dice, sentences: Sequence[str]) -> str:
    """Lay the sentences out as HTML: paragraphs, line breaks, a list, or no tags at all."""
    texts = [_space(dice, escape(sentence)) for sentence in sentences]
    html = dice.one((_paragraphs, _breaks, _list, _plain))(texts)
    if dice.chance(0.08):
        html += f'<img src="{PICTURE_HOST}/{dice.below(10**9):09d}.jpg">'
    return html


def _space(dice: Dice, sentence: str) -> str:
    return sentence.replace(" ", "&nbsp;", 1) if dice.chance(0.15) else sentence


def _paragraphs(texts: Sequence[str]) -> str:
    return "".join(f"<p>{text}.</p>" for text in texts)


def _breaks(texts: Sequence[str]) -> str:
    return f"<p>{'.<br>'.join(texts)}.</p>"


def _list(texts: Sequence[str]) -> str:
    items = "".join(f"<li>{text};</li>" for text in texts[1:])
    return f"<p>{texts[0]}:</p><ul>{items}</ul>" if items else f"<p>{texts[0]}</p>"


def _plain(texts: Sequence[str]) -> str:
    return ". ".join(texts)
