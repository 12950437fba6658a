"""What a product's payload is, and what of it changed since it was stored."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rubrika.index.manifest import IMAGE, JOINT, TEXT, Manifest
from rubrika.products.product import Category, Product
from rubrika.store.base import Payload

# Not part of what a product says: it changes with every write.
INGESTED_AT = "ingested_at"


def payload_of(
    product: Product, text_hash: str, image_hash: str | None, image_url: str | None, ingested_at: str
) -> Payload:
    """Build the payload of a labelled product; absent values are left out."""
    if product.category is None:
        raise ValueError(f"product {product.id} has no category")
    payload = {
        "product_id": product.id,
        "title": product.title,
        **category_payload(product.category),
        "shop_id": product.shop_id,
        "shop_title": product.shop_title or None,
        "rating": product.rating,
        "sale": product.sale,
        "text_hash": text_hash,
        "image_url": image_url,
        "image_hash": image_hash,
        INGESTED_AT: ingested_at,
    }
    return {key: value for key, value in payload.items() if value is not None}


def category_payload(category: Category) -> Payload:
    """The part of a payload that says which category."""
    return {
        "category_id": category.id,
        "category": category.leaf,
        "category_path": category.path,
        "category_levels": category.levels,
    }


Kind = Literal["added", "updated", "relabelled", "unchanged", "rejected"]
# What the payload says of the picture; it stays while no other picture is given.
_PICTURE = ("image_hash", "image_url", "image_error")


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one product.

    Args:
        kind: what it counts as.
        stale: the named vectors that must be encoded.
        payload: what its point is to carry.
    """

    kind: Kind
    stale: frozenset[str]
    payload: Payload


@dataclass(frozen=True)
class Hasher:
    """Hashes of content as one set of encoders sees it: another encoder, and every hash is another.

    Args:
        salts: by named vector, a digest of all that determines what its encoder makes.
    """

    salts: Mapping[str, bytes]

    @classmethod
    def of(cls, manifest: Manifest) -> "Hasher":
        """The hasher of an index."""
        return cls({name: hashlib.blake2b(spec.sha256.encode()).digest() for name, spec in manifest.vectors.items()})

    def text(self, content: str) -> str:
        """Sixteen hexadecimal digits that change when the text does, or an encoder that reads it."""
        return self._digest(content, TEXT)

    def image(self, content: str | None) -> str | None:
        """The same of a picture, given the hash of its bytes; None: no picture."""
        return None if content is None else self._digest(content, IMAGE)

    def _digest(self, content: str, vector: str) -> str:
        # A joint encoder is not in it: with another one, all points are made anew; see `relearn`.
        key = self.salts.get(vector, b"")
        return hashlib.blake2b(content.encode("utf-8", "replace"), digest_size=8, key=key).hexdigest()


def change_of(
    product: Product,
    known: Payload | None,
    hasher: Hasher,
    picture: str | None,
    image_url: str | None,
    now: str,
) -> Change:
    """Compare.

    Args:
        product: with its category.
        known: the payload that is stored of it; None: it is new.
        hasher: of the index's encoders.
        picture: the hash of its picture's bytes; None: there is none to use, and a stored one stays.
        image_url: where that picture is served.
        now: the time of this run.
    """
    payload = payload_of(product, hasher.text(product.text), hasher.image(picture), image_url, now)
    if known is None:
        return Change("added", frozenset(hasher.salts), payload)
    if picture is None:
        payload |= {key: known[key] for key in _PICTURE if key in known}
    elif known.get("image_hash") == payload["image_hash"]:
        # What this run does not say of the same picture stays.
        payload = {key: known[key] for key in _PICTURE if key in known} | payload
    stale = set[str]()
    if known.get("text_hash") != payload["text_hash"]:
        stale |= {TEXT, JOINT}
    if known.get("image_hash") != payload.get("image_hash"):
        stale |= {IMAGE, JOINT}
    kind: Kind = "updated"
    if not stale and known.get("category_id") != payload["category_id"]:
        kind = "relabelled"
    elif _content(known) == _content(payload):
        kind = "unchanged"
    return Change(kind, frozenset(stale & set(hasher.salts)), payload)


def _content(payload: Payload) -> Payload:
    return {key: value for key, value in payload.items() if key != INGESTED_AT}
