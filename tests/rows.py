"""Rows of labelled products with nothing in them but what a test is about."""

import json

SHOES = (11, "Все категории->Обувь->Кроссовки")
CASES = (22, "Все категории->Электроника->Чехлы")


def row(product_id: object, title: str, category: tuple[object, str] = SHOES, **columns: object) -> dict[str, object]:
    """A labelled row with nothing in it but what matters."""
    fields = {"title": title, "description": "", "attributes": []}
    return {
        "product_id": product_id,
        "category_id": category[0],
        "category_name": category[1],
        "text_fields": json.dumps(fields, ensure_ascii=False),
    } | columns
