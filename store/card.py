"""The card of a product: how its payload is laid out in a store, for whoever looks at it in Qdrant's web UI.

In the program a payload is flat. In a store what a person reads comes first, picture and title before all, and
what Rubrika alone needs (hashes, times, whole texts) is under one key. Payloads of earlier versions are flat in the
store too; they are read as they are.
"""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from rubrika.products.product import display_path
from rubrika.products.text import shortened

OURS = "rubrika"
# In the order of the card; an engine that keeps the order of keys shows them so.
SHOWN = (
    *("image_url", "title", "label", "category_path", "text", "brand", "shop_title", "rating", "sale"),
    *("category", "category_levels", "category_id", "shop_id", "product_id"),
)
# What a person is shown in another form; whole it is ours.
PATH, TEXT = "category_path", "text"
HIDDEN = (
    *("text_hash", "image_hash", "image_error", "ingested_at", "group", "held_out"),
    *("label_source", "labelled_by", "labelled_at", "category_label"),
)
# All that Rubrika says of a product.
KEYS = {*SHOWN, *HIDDEN}
MAX_TEXT, BETWEEN = 300, " · "


def card_of(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The payload as a store has it; keys that are not Rubrika's stay where they are."""
    shown = {key: payload[key] for key in SHOWN if key in payload}
    ours = {key: payload[key] for key in HIDDEN if key in payload}
    for key, form in ((PATH, display_path), (TEXT, _short_text)):
        if isinstance(value := payload.get(key), str):
            shown[key] = form(value)
            ours |= {key: value} if shown[key] != value else {}
    others = {key: value for key, value in payload.items() if key not in shown and key not in ours}
    return shown | others | ({OURS: ours} if ours else {})


def payload_of(stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """The flat payload of a card, or of a part of one."""
    payload, ours = dict(stored or {}), (stored or {}).get(OURS)
    if isinstance(ours, dict):
        del payload[OURS]
        # Whoever else wrote there may have written anything; it overrides nothing that is shown as it is.
        payload |= {key: ours[key] for key in (*HIDDEN, PATH, TEXT) if key in ours}
    return payload


def keys_in_store(keys: Iterable[str]) -> list[str]:
    """Which keys of cards and of earlier payloads hold these keys of a flat payload."""
    names = ([key, f"{OURS}.{key}"] if key in (*HIDDEN, PATH, TEXT) else [key] for key in keys)
    return list(chain.from_iterable(names))


def _short_text(text: str) -> str:
    """A text in one line, as far as it fits on the card; its first line is the title, which stands above it."""
    return shortened(BETWEEN.join(text.split("\n")[1:]) or text, MAX_TEXT)
