"""The shops of the marketplace: most keep to one department, some sell everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rubrika.sample.kinds import phrases
from rubrika.sample.tree import departments

if TYPE_CHECKING:
    from rubrika.sample.dice import Dice

SIGNS = phrases("Лавка; Маркет; Shop; Мир; Дом; Store; Уголок; База; Склад; Бутик; Market; Центр")

OWNERS = phrases(
    "Домовой; Светлый; Volga; Ласточка; Трио; Сокол; Kazan Style; Берёзка; Юг; Алмаз; Fox; Ромашка; Комета; Sever;"
    "Радуга; Лидер; Тюльпан; Orion; Гармония; Планета; Ok; Мастер; Пчёлка; Vega"
)


@dataclass(frozen=True, slots=True)
class Shop:
    """A shop; one without a department sells everything."""

    number: int
    title: str
    department: str = ""


def open_shops(dice: Dice, products: int) -> list[Shop]:
    """Open about one shop per thirty products; the first few sell everything, so that no product lacks a shop."""
    general = 3 + products // 150
    special = 8 + products // 40
    numbers = dice.generator.choice(100 * (general + special), general + special, replace=False)
    fields = [""] * general + [dice.one(departments()) for _ in range(special)]
    return [Shop(int(number), _title(dice, field), field) for number, field in zip(numbers, fields, strict=True)]


def choose_shop(dice: Dice, shops: list[Shop], department: str) -> Shop:
    """Choose a shop that sells in the department; the earlier a shop opened, the more it sells."""
    fitting = [shop for shop in shops if shop.department in ("", department)]
    return dice.early(fitting)


def _title(dice: Dice, field: str) -> str:
    # Most shops that keep to a department say so on their sign, as real ones do.
    if field and dice.chance(0.6):
        return f"{field} {dice.one(OWNERS)}"
    return f"{dice.one(OWNERS)} {dice.one(SIGNS)}"
