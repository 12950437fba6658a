"""The documentation is true: what it shows runs, what it names exists, and no command, option or link is left out."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
import typer
from conftest import Run
from house import FLOORS
from packaging.requirements import Requirement
from qdrant_http import serve
from rows import row
from typer.core import TyperCommand, TyperGroup
from typer.testing import CliRunner

from rubrika.api import Index
from rubrika.cli import app
from rubrika.products.text import parse_fields

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SERVER = "http://127.0.0.1:6333"
# What needs a model hub, a run of minutes, or somebody who ends it.
ONLY_PARSED = ("serve", "review", "train text", "train joint")
# What makes the README's commands quick, on fewer products than a reader has.
FOR_FEW = {"sample": ("--products", 400), "tune": ("--holdout", 0.3)}

Command = TyperCommand | TyperGroup

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def leaves(command: Command, name: str = "") -> Iterator[tuple[str, Command]]:
    """The commands that do something, by name."""
    if not isinstance(command, TyperGroup):
        yield name, command
        return
    for each, inner in command.commands.items():
        yield from leaves(inner, f"{name} {each}".strip())


COMMANDS = dict(leaves(typer.main.get_command(app)))
OPTIONS = {
    name: {option for each in command.params for option in each.opts if option.startswith("-")}
    for name, command in COMMANDS.items()
}


def fences(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[str]:
    lines = (line for block in fences(page, "sh") for line in block.splitlines())
    return [line.split("#")[0].strip() for line in lines if line.startswith("rubrika ")]


def named(line: str) -> str | None:
    """The command that a line calls, such as `train text`."""
    words = line.split()[1:]
    return next((name for name in (" ".join(words[:2]), *words[:1]) if name in COMMANDS), None)


def sections() -> dict[str, str]:
    """The sections of docs/commands.md by command."""
    parts = re.split(r"^## rubrika (.+)\n", (ROOT / "docs/commands.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, where no environment says where an index is."""
    for name in ("RUBRIKA_INDEX", "RUBRIKA_CACHE", "QDRANT_URL", "QDRANT_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(line: str) -> str:
    """What a line prints on stdout; several in one process spare a second each."""
    done = CliRunner().invoke(app, shlex.split(line)[1:])
    assert done.exit_code == 0, f"{line}: {done.exception!r} {done.output}"
    return done.stdout


def test_the_commands_of_the_readme_run_one_after_the_other(rubrika: Callable[..., Run], tmp_path: Path) -> None:
    own = [(f"{name}-{place}", f"{name} {place}", "", name) for place in range(30) for name in ("кеды", "чехол")]
    catalogue = pd.DataFrame(own, columns=["sku", "name", "descr", "category"])
    catalogue.to_csv(tmp_path / "catalogue.csv", index=False)
    catalogue.tail(5).to_csv(tmp_path / "new.csv", index=False)
    shown = commands(ROOT / "README.md")
    assert len(shown) >= 5
    for line in shown:
        done = rubrika(*shlex.split(line)[1:], *FOR_FEW.get(str(named(line)), ()), cwd=tmp_path)
        assert done.code == 0, f"{line}: {done.err}"
    assert (tmp_path / "result.parquet").exists()


def test_a_section_for_every_command_and_none_besides() -> None:
    assert sorted(sections()) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_section_names_every_option_and_no_other(name: str) -> None:
    section = sections()[name]
    # A whole command in it may be another one.
    prose = re.sub(r"```.*?```|`rubrika [^`]*`", "", section, flags=re.DOTALL)
    said = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", " ".join(re.findall(r"`([^`]*)`", prose))))
    assert said - OPTIONS[name] == set()
    assert OPTIONS[name] - {"--help"} - said == set()


def test_the_examples_of_every_command_run_and_their_json_has_the_keys_that_are_named(here: Path, market: Path) -> None:
    shelf = pd.read_parquet(market / "train.parquet").head(400)
    shoes = pd.DataFrame([row(1_000_000 + place, f"кеды {place}") for place in (1, 2, 3)])
    shelf = pd.concat([shelf, shoes])
    shelf.assign(group_key=shelf["group_key"].fillna("кеды")).to_parquet("train.parquet")
    pd.read_parquet(market / "test.parquet").head(50).to_parquet("new.parquet")
    with serve() as server:
        for name, section in sections().items():
            [line] = [line for line in section.splitlines() if line.startswith("rubrika ")]
            assert named(line) == name
            if name not in ONLY_PARSED:
                keys = set(json.loads(run(f"{line} --json".replace(SERVER, server.url))))
                assert keys <= set(re.findall(r"`([a-z_0-9]+)`", section)), line


def test_the_quickstart_goes_from_somebodys_own_files_to_corrected_labels(here: Path, market: Path) -> None:
    products = pd.read_parquet(market / "train.parquet").head(450)
    texts = products["text_fields"].map(parse_fields)
    photos = products["product_id"].astype(str) + ".jpg"
    own = pd.DataFrame(
        {
            "sku": [f"A-{number}" for number in products["product_id"]],
            "name": texts.map(lambda fields: fields["title"]),
            "descr": texts.map(lambda fields: fields["description"]),
            "brand": "",
            "category": products["category_name"].str.replace("->", " > "),
            "photo": photos.where([(market / "images/train" / photo).exists() for photo in photos], ""),
        }
    )
    own[:400].to_csv("catalogue.csv", index=False)
    own[400:].drop(columns="category").to_csv("new.csv", index=False)
    shutil.copytree(market / "images/train", "photos")
    page = ROOT / "docs/quickstart.md"
    for script in [*fences(page, "python"), *fences(page, "toml")]:
        Path(script.splitlines()[0].removeprefix("# ")).write_text(script, encoding="utf-8")
    for block in fences(page, "sh"):
        if "with-pictures" in block:
            break
        for line in block.splitlines():
            if line.startswith("python "):
                subprocess.run([sys.executable, *line.split()[1:]], check=True)
            else:
                run(line)
    result = pd.read_csv("result.csv")
    assert list(result["product_id"]) == list(own["sku"][400:])
    assert set(result["predicted_category_id"]) <= set(own["category"])
    # What a person has corrected is sure the next day.
    details = pd.read_parquet("details.parquet")
    assert (details["neighbours"].str[0].map(lambda hit: hit["score"]) > 0.99).any()


def test_who_comes_from_another_library_has_the_same_in_the_blocks_that_are_ours(here: Path) -> None:
    kinds = {"Обувь>Кеды": "кеды женские", "Телефоны>Чехлы": "чехол силиконовый", "Зоотовары>Корм": "корм для кошек"}
    titles = [(label, f"{words} {number}") for number in range(6) for label, words in kinds.items()]
    lines = [f"__label__{label} {title}\n" for label, title in titles]
    Path("products.txt").write_text("".join(lines), encoding="utf-8")
    pd.DataFrame(titles, columns=["label", "text"]).to_csv("products.csv", index=False)
    pd.DataFrame([row(1_000_001, "кеды белые"), row(1_000_002, "корм сухой")]).to_parquet("new.parquet")
    text = (ROOT / "docs/coming-from.md").read_text(encoding="utf-8")
    known: dict[str, object] = {}
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if language == "python" and block.startswith("# Rubrika\n"):
            exec(compile(block, "docs/coming-from.md", "exec"), known)  # noqa: S102 - our own page
        for line in block.splitlines() if language == "sh" else ():
            if line.startswith("rubrika "):
                run(line)
    assert pd.read_parquet("result.parquet")["predicted_category_id"].tolist() == ["Обувь>Кеды", "Зоотовары>Корм"]
    assert known["found"].names[0] == known["coded"].names[0]  # type: ignore[attr-defined]
    assert known["model"].predict(["кеды"]).tolist() == ["Обувь>Кеды"]  # type: ignore[attr-defined]


def test_python_has_a_method_for_every_command_on_an_index() -> None:
    rows = re.findall(r"^\| `rubrika (\w+)` \| (.+?) \|", (ROOT / "docs/python.md").read_text(encoding="utf-8"), re.M)
    besides = {"sample", "stats", "train text", "train joint"}
    assert sorted(command for command, _ in rows) == sorted(set(COMMANDS) - besides)
    named_methods = {name for _, cell in rows for name in re.findall(r"[Ii]ndex\.(\w+)\(", cell)}
    assert named_methods == {name for name in vars(Index) if not name.startswith("_")} - {"open", "close"}


@every_page
def test_commands_that_are_shown_could_be_called(page: Path) -> None:
    indented = re.findall(r"^    (rubrika .*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    for line in [*commands(page), *indented]:
        name = named(line)
        assert name, line
        COMMANDS[name].make_context(name, shlex.split(line)[1 + len(name.split()) :])


@every_page
def test_options_that_are_named_with_their_command_exist(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for line in re.findall(r"`(rubrika\s[^`]*)`", text):
        name = named(line)
        words = line.split()[1:2]
        assert name or words[0] in ("train", "COMMAND") or words[0].startswith("--"), line
        if name:
            assert set(re.findall(r"(?<!\S)--[a-z][a-z-]*", line)) - OPTIONS[name] - {"--help"} == set(), line


def test_every_page_is_reached_from_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in PAGES[1:] if f"docs/{page.name}" not in text] == []


def test_the_design_draws_the_floors_as_they_are() -> None:
    [drawing] = fences(ROOT / "docs/design.md", "text")
    rooms = {room for floor in FLOORS for room in floor}
    drawn = [{word for word in re.split(r"\s{2,}|\n", line.strip()) if word in rooms} for line in drawing.splitlines()]
    assert drawn == FLOORS[::-1]


def test_the_design_explains_every_dependency() -> None:
    page = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {Requirement(each).name for group in groups for each in group}
    assert sorted(name for name in wanted if f"| `{name}` |" not in page) == []


def test_the_caps_are_those_of_the_code_and_their_tests_are_there() -> None:
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    caps = re.findall(r"\| ([\d,]+) \| `([\w/]+)\.py` `(\w+)` \|", page)
    assert len(caps) >= 20
    for figure, module, name in caps:
        value = getattr(import_module(f"rubrika.{module.replace('/', '.')}"), name)
        assert figure == f"{value:,}", f"{module} {name}"


@every_page
def test_modules_and_tests_that_are_named_exist(page: Path) -> None:
    named_files = re.findall(r"`((?:\w+/)+\w+\.py)`", page.read_text(encoding="utf-8"))
    assert [file for file in named_files if not (ROOT / file).exists()] == []
