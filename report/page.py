"""A page that needs nothing but itself: sections, tables and figures, light or dark, and good on paper."""

from collections.abc import Sequence
from dataclasses import dataclass

from rubrika.report.markup import Markup, element, joined
from rubrika.report.theme import page_style

# Whatever a title might hold, a page may load nothing and run nothing.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it; text that is not markup is escaped and becomes a paragraph."""

    title: str
    parts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart that may also be drawn as a picture.

    Args:
        name: of the picture's file, without its suffix, and of the place in the page.
        title: what it shows.
        svg: the chart.
        note: how to read it.
    """

    name: str
    title: str
    svg: Markup
    note: str = ""

    def shown(self) -> Markup:
        """The figure in a page."""
        caption = element("figcaption", self.note or self.title)
        return element("figure", self.svg, caption, id=self.name)


def page(title: str, sections: Sequence[Section], lead: Sequence[str] = ()) -> str:
    """A whole HTML document: a title, what is to be known first, and sections."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", Markup(page_style())),
    )
    body = element(
        "body",
        element("main", element("h1", title), *map(_paragraph, lead), *map(_section, sections)),
    )
    return "<!doctype html>\n" + element("html", head, body, lang="en") + "\n"


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], form: str = ",.6g") -> Markup:
    """A table: every cell is escaped unless it is markup, and numbers stand to the right, written as `form` says."""
    numeric = [bool(rows) and all(_is_number(row[place]) for row in rows) for place in range(len(columns))]
    kinds = ["number" if number else None for number in numeric]
    head = element("tr", *(element("th", name, class_=kind) for name, kind in zip(columns, kinds, strict=True)))
    body = [
        element("tr", *(element("td", _cell(cell, form), class_=kind) for cell, kind in zip(row, kinds, strict=True)))
        for row in rows
    ]
    return element("div", element("table", element("thead", head), element("tbody", *body)), class_="scroll")


def figures(values: Sequence[tuple[str, str]]) -> Markup:
    """The figures that matter most, large: what each is called, and the number."""
    return element(
        "ul", *(element("li", element("b", value), element("span", name)) for name, value in values), class_="figures"
    )


def note(text: str) -> Markup:
    """A paragraph that explains, in a quieter colour."""
    return element("p", text, class_="note")


def _section(section: Section) -> Markup:
    return element("section", element("h2", section.title), joined(map(_paragraph, section.parts)))


def _paragraph(part: str) -> Markup:
    return part if isinstance(part, Markup) else element("p", part)


def _is_number(cell: object) -> bool:
    return cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool))


def _cell(cell: object, form: str) -> str:
    if isinstance(cell, str):
        return cell
    if cell is None:
        return "–"
    return format(cell, form if isinstance(cell, float) else ",") if _is_number(cell) else str(cell)
