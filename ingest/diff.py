"""What a product's payload is, and what changed in it since it was stored."""

import hashlib
from dataclasses import dataclass
from typing import Literal

from rubrika.encode.duplicates import group_number
from rubrika.index.categories import Labels
from rubrika.index.manifest import IMAGE, JOINT, TEXT, Manifest
from rubrika.products.columns import LABEL_SOURCE, PERSON
from rubrika.products.product import Category, Product, text_hash
from rubrika.products.text import brand_of
from rubrika.store.base import Payload
from rubrika.store.card import KEYS

# The time of the run that wrote a point: every write changes it, so it is left out of comparisons.
INGESTED_AT = "ingested_at"
# Whether the encoder has not learned from a product, and its group of near duplicates, where a column names groups.
HELD_OUT, GROUP = "held_out", "group"
# What a payload says of the picture; it stays as long as no other picture comes.
_PICTURE = ("image_hash", "image_url", "image_error")
# What a payload says of the person who set the category, and when.
BY_PERSON = (LABEL_SOURCE, "labelled_by", "labelled_at")
# What stays once it is stored, unless an ingest says it anew.
LASTING = (*BY_PERSON, GROUP, HELD_OUT)
_CATEGORY = ("category_id", "category", "category_path", "category_levels", "category_label", "label")
# All that a person's correction changes.
LABELLED = (*_CATEGORY, *BY_PERSON)
# What follows from the text or from the names of all categories: no product differs by it, only its point.
_DERIVED = ("text", "brand", "label")

Kind = Literal["added", "updated", "relabelled", "unchanged", "kept", "rejected"]


def is_held_out(product: Product, part: float) -> bool:
    """Whether a product is among the part held out, with all near duplicates, in any file and any order of rows."""
    return 0 < part < 1 and group_number(product.title, product.group, product.id) % 2**32 < part * 2**32


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one product: its count, the named vectors to encode, and the new payload of its point."""

    kind: Kind
    stale: frozenset[str]
    payload: Payload
    differs: bool = True  # whether that is another payload than the stored one


class Hasher:
    """Hashes of content that also depend on an index's encoders: with another encoder every hash differs."""

    def __init__(self, manifest: Manifest) -> None:
        # By named vector, a digest of all that determines its encoder's output. No hash needs that of the joint
        # encoder: `relearn`, which replaces it, writes every point anew.
        self.salts = {name: hashlib.blake2b(spec.sha256.encode()).digest() for name, spec in manifest.vectors.items()}

    def text(self, content: str) -> str:
        """Sixteen hexadecimal digits that change with the text, and with the encoder that reads it."""
        return text_hash(content, self.salts.get(TEXT, b""))

    def image(self, content: str | None) -> str | None:
        """The same for a picture, from the hash of its bytes; None: no picture."""
        return None if content is None else text_hash(content, self.salts.get(IMAGE, b""))


def change_of(
    product: Product,
    known: Payload | None,
    hasher: Hasher,
    picture: str | None,
    image_url: str | None,
    now: str,
    labels: Labels,
    held_out: bool = False,
    by: str = "",
) -> Change:
    """Compare a product with its stored payload, None when it is new.

    `picture` is the hash of its picture's bytes; None: no usable picture came, and a stored one stays. `held_out` marks
    a new product that the encoder has not learned from. `by` is who set the category, when a person did: that category
    stays, until a person sets another. `labels` are the unique ones of the categories.
    """
    payload = _payload(product, hasher, picture, image_url, now, labels)
    if known is None:
        payload |= {HELD_OUT: True} if held_out else {}
        return Change("added", frozenset(hasher.salts), payload | (by_person(by, now) if product.by_person else {}))
    same, settled = known.get("category_id") == payload["category_id"], is_by_person(known)
    if product.by_person and not (same and settled):
        payload |= by_person(by, now)
    is_kept = settled and not same and not product.by_person
    if is_kept:
        payload = {key: value for key, value in payload.items() if key not in _CATEGORY}
        payload |= {key: known[key] for key in _CATEGORY if key in known}
    # What others have put there stays, too.
    payload = {key: value for key, value in known.items() if key in LASTING or key not in KEYS} | payload
    stored_picture = {key: known[key] for key in _PICTURE if key in known}
    if picture is None:
        payload |= stored_picture
    elif known.get("image_hash") == payload["image_hash"]:
        # The same picture keeps what this run does not say of it.
        payload = stored_picture | payload
    stale = set[str]()
    if known.get("text_hash") != payload["text_hash"]:
        stale |= {TEXT, JOINT}
    if known.get("image_hash") != payload.get("image_hash"):
        stale |= {IMAGE, JOINT}
    differs = known | {INGESTED_AT: now} != payload
    is_updated = {**_said(known), INGESTED_AT: now} != _said(payload)
    kind: Kind = "kept" if is_kept else "updated" if is_updated else "unchanged"
    if not stale and not same and not is_kept:
        kind = "relabelled"
    return Change(kind, frozenset(stale & hasher.salts.keys()), payload, differs)


def by_person(by: str, now: str) -> Payload:
    """The part of a payload that says who set the category, and when."""
    return dict(zip(BY_PERSON, (PERSON, by, now), strict=True))


def is_by_person(payload: Payload) -> bool:
    """Whether a person set the category."""
    return payload.get(LABEL_SOURCE) == PERSON


def _said(payload: Payload) -> Payload:
    return {key: value for key, value in payload.items() if key not in _DERIVED}


def text_part(product: Product) -> Payload:
    """What a payload says of a product's text, where that is more than its title, and its brand where that is known."""
    parts = {"text": product.text if product.text != product.title else "", "brand": brand_of(product.text)}
    return {key: value for key, value in parts.items() if value}


def _payload(
    product: Product, hasher: Hasher, picture: str | None, image_url: str | None, now: str, labels: Labels
) -> Payload:
    """The payload of a labelled product, without keys that have no value."""
    if product.category is None:
        raise ValueError(f"product {product.id} has no category")
    payload = {
        "product_id": product.own_id,
        "title": product.title,
        **text_part(product),
        **with_category({}, product.category, labels),
        "shop_id": product.shop_id,
        "shop_title": product.shop_title or None,
        "rating": product.rating,
        "sale": product.sale,
        GROUP: product.group or None,
        "text_hash": hasher.text(product.text),
        "image_url": image_url,
        "image_hash": hasher.image(picture),
        INGESTED_AT: now,
    }
    return {key: value for key, value in payload.items() if value is not None}


def with_category(payload: Payload, category: Category, labels: Labels) -> Payload:
    """A payload that says this category, its unique label, and what its owner calls it where the number is not that."""
    levels, same = category.levels, payload.get("category_id") == category.id
    owned = category.key or (payload.get("category_label") if same else None)
    values = (category.id, levels[-1], category.path, levels, owned, labels.get(category.id))
    fresh = {key: value for key, value in zip(_CATEGORY, values, strict=True) if value is not None}
    return {key: value for key, value in payload.items() if key not in _CATEGORY} | fresh
