"""Pages of the documentation site that stand elsewhere in the repository, where people look for them without a site."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# By their names on the site.
ELSEWHERE = {"index.md": "README.md", "changes.md": "CHANGELOG.md"}
_HERE = re.compile(r"\]\(docs/")
# What only the repository has.
_OUTSIDE = re.compile(r"\]\((\.\./)?(?![\w./-]*\.(?:md|webp|svg|png)\b)(?!https?:|#|mailto:)[\w./-]+\)")


def on_files(files: Any, config: Any) -> Any:  # noqa: ANN401 - of mkdocs
    """Add the README as the first page, and the changelog."""
    from mkdocs.structure.files import File

    for name, source in ELSEWHERE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        for there, here in ((source, name) for name, source in ELSEWHERE.items()):
            text = text.replace(f"]({here})", f"]({there})")
        files.append(File.generated(config, name, content=_HERE.sub("](", text)))
    return files
