"""Every link of every page leads to a file that is there, and to a heading in it, on GitHub and on the site."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob(".github/**/*.md")])


def prose(page: Path) -> str:
    """A page without its code, where brackets are no links and # no headings."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"^(```+|~~~+).*?^\1", "", text, flags=re.DOTALL | re.MULTILINE)


def links(page: Path) -> list[str]:
    """What a page links to and shows, in Markdown of both kinds and in HTML."""
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    found = re.findall(r"\]\(<?([^)\s>]+)|^\[[^\]]+\]: *(\S+)|(?:href|src)=\"([^\"]+)\"", text, re.MULTILINE)
    return ["".join(each) for each in found]


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub calls them, and as the site does where the page is on it."""
    headings = re.findall(r"^#+ +(.+?) *#*$", prose(page), re.MULTILINE)
    titles = [re.sub(r"\[([^\]]+)\]\([^)]*\)|[`*]", r"\1", heading).lower() for heading in headings]
    github = [re.sub(r" ", "-", re.sub(r"[^\w\- ]", "", title)) for title in titles]
    # Python-Markdown keeps no letters beyond ASCII, and makes one dash of several.
    site = [re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title, flags=re.ASCII).strip()) for title in titles]
    if page.parent.name != "docs":
        return set(numbered(github, "-"))
    return set(numbered(github, "-")) & set(numbered(site, "_"))


def numbered(slugs: list[str], mark: str) -> list[str]:
    """The second and every later one of the same name has its number."""
    earlier = [slugs[:place].count(slug) for place, slug in enumerate(slugs)]
    return [f"{slug}{mark}{count}" if count else slug for slug, count in zip(slugs, earlier, strict=True)]


def missing(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    lost = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            lost.append(link)
    return lost


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert missing(page) == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_a_link_says_what_it_leads_to(page: Path) -> None:
    # On the site no file is to be seen.
    assert re.findall(r"\[`?[\w/.-]+\.md`?\](?=\()", page.read_text(encoding="utf-8")) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text(
        "# One, two\n\n## Same\n\n## Same\n\n```sh\n# no heading\n```\n", encoding="utf-8"
    )
    right = "[a](other.md) [b](other.md#one-two) [c](other.md#same-1) [d](#here) `[e](none)` [f](https://example.com/x)"
    wrong = '[a](gone.md) [b](other.md#no-heading) [c](#there) ![d](gone.png) <img src="gone.svg">'
    page.write_text(f"# Here\n\n{right}\n{wrong}\n\n[e]: gone.txt\n", encoding="utf-8")
    assert missing(page) == ["gone.md", "other.md#no-heading", "#there", "gone.png", "gone.svg", "gone.txt"]
