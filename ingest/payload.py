"""The payload of a point: what queries, a person in Qdrant's web UI, and the next ingest need to know of a product."""

from rubrika.products.product import Category, Product
from rubrika.store.store import Payload

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
