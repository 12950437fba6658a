"""The review desk in a real browser: keys alone, many at once, a picture dropped, and nothing that keeps people out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import BROWSER, needs_browser
from conftest import Made, copied
from models import save_vit
from playwright.sync_api import Browser, Page, sync_playwright
from service import serving
from shop import Shop, counted

from rubrika.api import Index
from rubrika.index.folder import Choice
from rubrika.index.location import Location
from rubrika.ingest.ingest import ingest
from rubrika.products.images import PictureFolder
from rubrika.products.reader import Reader
from rubrika.sample import write_sample
from rubrika.serve.review import open_reviews
from rubrika.serve.reviews import UNCERTAIN, Filters, Reviews

pytestmark = needs_browser
WIDTHS = {1280: "light", 390: "dark"}
# That a page shows another product, and hears keys.
NEXT = """shown => {
    const product = document.querySelector("#product");
    return product && product.dataset.number !== shown && document.body.dataset.ready;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])


@pytest.fixture(scope="module")
def pictured(made_once: Made) -> Path:
    """A small marketplace with an index that has picture vectors, and what `classify --details` said."""

    def make(folder: Path) -> None:
        write_sample(folder, seed=7, products=400)
        save_vit(folder / "vit")
        shop = Shop(folder, folder)
        at, choice = Location(shop.index, cache=folder / "cache"), Choice(image=str(folder / "vit"), vote="text")
        pictures = PictureFolder.scan(shop.images[1])
        # Not calibrated: then every product waits for a person.
        ingest(at, Reader([shop.train], labelled=True), pictures=pictures, choice=choice, calibrated=False)
        with Index.open(shop.index, cache=folder / "cache") as index:
            index.classify_file(shop.test, folder / "result.parquet", details=shop.details)

    return made_once("desk", make)


@contextmanager
def desk(browser: Browser, pictured: Path, folder: Path, width: int = 1280) -> Iterator[tuple[Page, Reviews, Shop]]:
    """A page of the desk over a copy of the shop."""
    shop = Shop(pictured, copied(pictured, folder / "shop"))
    with Index.open(shop.index) as index:
        open_reviews(index, shop.details, [shop.test])
    with serving(shop.index, images=shop.images) as client:
        scheme = WIDTHS[width]
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, locale="en-GB")
        page = context.new_page()
        wrong = list[str]()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(str(client.base_url))
        yield page, Reviews(shop.index), shop
        context.close()
        assert wrong == []


def press(page: Page, *keys: str) -> None:
    """Press keys, each on the page that the one before led to."""
    for key in keys:
        shown = page.locator("#product").get_attribute("data-number")
        page.keyboard.press(key)
        page.wait_for_function(NEXT, arg=shown)


def test_a_morning_at_the_desk(browser: Browser, pictured: Path, tmp_path: Path) -> None:
    with desk(browser, pictured, tmp_path) as (page, reviews, shop):
        waiting = reviews.queue(UNCERTAIN).waiting
        page.get_by_role("link", name="Review Uncertain").press("Enter")
        page.wait_for_function(NEXT, arg="")
        # Twenty products with keys alone, one of them by the tree, and one of a category that is new.
        press(page, *"aaaaaaaaa", "1", *"aaaa", "p", "s", "a")
        page.keyboard.press("/")
        page.keyboard.type("кру")
        page.locator("#pick-list li").first.wait_for()
        press(page, "Enter")
        page.keyboard.press("n")
        page.keyboard.press("Control+a")
        page.keyboard.type("Дом > Космос > Луноходы")
        press(page, "Enter")
        press(page, "a")
        assert [reviews.queue(UNCERTAIN).waiting, len(reviews.decisions())] == [waiting - 20, 20]
        # One is taken back.
        last = reviews.decisions(1)[0]
        press(page, "u")
        assert page.locator("#product").get_attribute("data-number") == last.number
        # Five at once, and how many is asked first.
        page.goto(page.url.partition("review?")[0] + "queue?name=uncertain")
        for box in page.locator("[name=chosen]").all()[:5]:
            box.check()
        page.get_by_role("button", name="Accept the prediction of each").click()
        assert "5 products" in page.locator("#sure-what").inner_text()
        with page.expect_navigation():
            page.get_by_role("button", name="Yes").click()
        counted(reviews)
        assert len(reviews.decisions()) == 24
        decided = [each for each in reviews.decisions() if each.action == "label"]
        # They vote at once.
        with Index.open(shop.index) as index:
            found = index.opened().store.fetch([int(each.number) for each in decided])
            assert {it.payload["category_path"] for it in found.values()} == {each.category for each in decided}
            assert len(found) == 23
            [made] = [it for it in index.categories().categories if it.category_name.endswith("Луноходы")]
        assert made.products == 1


def test_a_picture_finds_its_product(browser: Browser, pictured: Path, tmp_path: Path) -> None:
    with desk(browser, pictured, tmp_path) as (page, _, shop):
        picture = sorted(shop.images[1].iterdir())[0]
        page.locator("#file").set_input_files(picture)
        page.locator(".hits li").first.wait_for()
        assert page.locator(".hits li a").first.get_attribute("href") == f"product?id={picture.stem}"


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_keeps_people_out(browser: Browser, pictured: Path, tmp_path: Path, width: int) -> None:
    with desk(browser, pictured, tmp_path, width) as (page, reviews, _):
        start, [item] = page.url, reviews.waiting(UNCERTAIN, Filters(), 1)[1]
        paths = ["", "queue?name=uncertain", "review?queue=uncertain", "decisions", "categories", "login", "nowhere"]
        for path in [*paths, f"category?id={item.predicted_id}", "search?q=кружка"]:
            page.goto(start + path)
            found = Axe().run(page).response["violations"]
            assert [(each["id"], each["nodes"][0]["html"]) for each in found] == [], path
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


def test_russian_pages_are_russian(browser: Browser, pictured: Path, tmp_path: Path) -> None:
    with desk(browser, pictured, tmp_path) as (page, _, _):
        page.get_by_role("link", name="Русский").click()
        assert page.get_by_role("heading", level=1).inner_text() == "Что ждёт человека"
