"""What the documentation site does besides Markdown: `changes.md` is the changelog, its links as seen from docs/."""

from pathlib import Path
from typing import Any

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"


def on_page_markdown(markdown: str, *, page: Any, **_: object) -> str:  # noqa: ANN401 - mkdocs' own
    """The text of a page before it is made HTML."""
    if page.file.src_uri != "changes.md":
        return markdown
    return CHANGELOG.read_text(encoding="utf-8").replace("](docs/", "](")
