"""Rows of labelled products with nothing in them but what a test is about."""

import json
from collections.abc import Mapping
from pathlib import Path

from rubrika.products.columns import Columns, ColumnType
from rubrika.products.product import Product
from rubrika.products.row import product_of

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


def product_in(cells: Mapping[str, object], labelled: bool = True, group_by: str | None = None) -> Product:
    """The product of a row, as if it were the first of its table."""
    names = list(cells)
    layout = Columns().layout(Path("rows"), names, lambda _: ColumnType("object", "anything"), labelled, group_by)
    return product_of(cells, 1, layout)
