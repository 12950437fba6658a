"""`rubrika stats`: what is in files of products, as figures, as tables and as a page."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Run
from models import save_bert
from PIL import Image
from rows import CASES, SHOES, row
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from rubrika.encode.duplicates import alike, near_duplicates, near_pairs, sketches_of
from rubrika.encode.hashing import features_of
from rubrika.errors import EncoderError
from rubrika.inputs import columns_of
from rubrika.products.columns import Columns
from rubrika.products.reader import Reader
from rubrika.stats.lengths import Summary, padding_of, tokens_of
from rubrika.stats.stats import SCRIPTS, Stats, measure, scripts_of

Write = Callable[..., Path]
Rubrika = Callable[..., Run]

TWIN = "Кроссовки женские беговые летние белые на липучке, размер"


def stats_of(path: Path, labelled: bool = True, group_by: str | None = None, columns: Columns | None = None) -> Stats:
    return measure(Reader([path], labelled=labelled, group_by=group_by, columns=columns or Columns()), tokens_of(None))


def unlabelled(number: int, title: object, **fields: object) -> dict[str, object]:
    return {"product_id": number, "text_fields": json.dumps({"title": title} | fields, ensure_ascii=False)}


def near(titles: Sequence[str]) -> list[int]:
    texts = np.arange(len(titles), dtype=np.uint64)
    return near_duplicates(texts, sketches_of(features_of(titles))).tolist()


def texts_of(market: Path) -> list[str]:
    reader = Reader([market / "train.parquet"], labelled=True)
    return sorted({product.text for batch in reader for product in batch.products})


def test_lengths_are_counted_in_characters_and_words(write: Write) -> None:
    found = stats_of(write([row(1, "кеды"), row(2, "кеды белые"), row(3, "кеды белые 42")]))
    assert (found.characters.min, found.characters.median, found.characters.max) == (4, 10, 13)
    assert (found.tokens.min, found.tokens.median, found.tokens.max) == (1, 2, 3)
    assert (found.encoder, found.unit) == ("learned", "words")


def test_quantiles_are_lengths_that_occur_and_a_histogram_loses_none() -> None:
    lengths = np.random.default_rng(0).lognormal(4, 1, 5_000).astype(np.int64)
    found = Summary.of(lengths)
    assert found.p90 == np.sort(lengths)[4_499]
    assert sum(found.histogram.counts) + found.histogram.beyond == 5_000
    assert found.histogram.beyond <= 50
    inside = (lengths >= found.histogram.edges[3]) & (lengths < found.histogram.edges[4])
    assert found.histogram.counts[3] == inside.sum()


def test_sizes_of_a_long_tail_fall_into_doubling_bins() -> None:
    found = Summary.of(np.array([1, 1, 2, 3, 4, 100]), doubling=True).histogram
    assert found.edges == [1, 2, 4, 8, 16, 32, 64, 128]
    assert found.counts == [2, 2, 1, 0, 0, 0, 1]


def test_sorting_by_length_saves_padding() -> None:
    found = padding_of(np.array([10, 90] * 640), limit=100)
    assert (found.fixed, found.shuffled, found.sorted) == (0.5, 0.5556, 1.0)
    assert found.saved == 0.4444


def test_texts_of_more_than_300_words_are_cut(write: Write) -> None:
    long = unlabelled(2, "корм", description=" ".join(f"вкус{number}" for number in range(200)))
    found = stats_of(write([unlabelled(1, "корм для кошек"), long]), labelled=False)
    assert found.tokens.max == 401
    assert found.truncated == 0.5
    assert found.padding.fixed == round((3 + 300) / 600, 4)


def test_a_transformers_own_tokenizer_counts_its_tokens(tmp_path: Path, rubrika: Rubrika, write: Write) -> None:
    folder = save_bert(tmp_path / "bert")
    done = rubrika("stats", write([row(1, "кеды")]), "--text-encoder", folder, "--json")
    # The mark at the beginning, the word, the mark at the end.
    assert done.json["tokens"]["max"] == 3
    assert (done.json["encoder"], done.json["unit"]) == (str(folder), "tokens")


@pytest.mark.parametrize(
    ("spec", "reason"), [("./nowhere", "there is no folder"), ("use", "no tokenizer"), ("{}", "cannot be loaded")]
)
def test_an_encoder_whose_tokens_cannot_be_counted_is_named(spec: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=reason):
        tokens_of(spec.format(tmp_path))


def test_the_same_text_in_two_categories_is_at_odds(write: Write) -> None:
    rows = [row(1, "кеды"), row(2, "кеды", CASES), row(3, "чехол"), row(4, "чехол"), row(5, "шапка"), row(5, "шарф")]
    found = stats_of(write(rows))
    assert (found.same_text.groups, found.same_text.rows, found.same_text.surplus) == (2, 4, 2)
    assert found.same_text.at_odds == 2
    assert (found.same_id.groups, found.same_id.at_odds) == (1, 0)


def test_texts_that_differ_in_a_size_are_near_duplicates(write: Write) -> None:
    others = [row(number, title) for number, title in enumerate(("корм для кошек", "чехол на телефон", "шапка"), 10)]
    found = stats_of(write([row(1, f"{TWIN} 38"), row(2, f"{TWIN} 39", CASES), *others]))
    assert (found.near_text.groups, found.near_text.rows, found.near_text.at_odds) == (1, 2, 2)
    assert found.same_text.rows == 0


def test_a_chain_of_texts_each_like_the_next_is_parted() -> None:
    words = [f"слово{number}" for number in range(200)]
    labels = near([" ".join(words[start : start + 150]) for start in range(0, 50, 5)])
    assert labels[0] == labels[1]
    assert labels[0] != labels[-1]


def test_sketches_estimate_how_much_two_texts_share(market: Path) -> None:
    texts = texts_of(market)[:200]
    features = features_of(texts)
    sets = [set(part.tolist()) for part in np.split(features.hashes, features.offsets[1:-1])]
    sketches = sketches_of(features)
    off = [
        (sketches[one] == sketches[other]).mean() - len(sets[one] & sets[other]) / len(sets[one] | sets[other])
        for one in range(len(texts))
        for other in range(one)
    ]
    assert abs(np.mean(off)) < 0.02
    assert np.std(off) < 0.05


def test_bands_link_what_comparing_all_with_all_finds_alike(market: Path) -> None:
    sketches = sketches_of(features_of(texts_of(market)))
    pairs = near_pairs(sketches)
    links = coo_array((np.ones(len(pairs)), pairs.T), (len(sketches), len(sketches)))
    chains = connected_components(links, directed=False)[1]
    for place, sketch in enumerate(sketches):
        assert set(chains[alike(sketches, sketch[None])]) == {chains[place]}


def test_texts_without_a_word_are_not_alike() -> None:
    assert len(set(near(["!!!", "???", "кеды"]))) == 3


def test_rows_alike_in_a_column_are_counted(write: Write) -> None:
    rows = [row(number, f"кеды {number}", group_key=key) for number, key in enumerate("ааб")]
    found = stats_of(write(rows), group_by="group_key")
    assert found.groups
    assert (found.groups.groups, found.groups.rows) == (1, 2)


def test_categories_have_a_tail_and_a_depth(write: Write) -> None:
    deep = (33, "Все категории->Дом->Кухня->Ножи")
    rows = [row(number, f"кеды {number}") for number in range(12)] + [row(20, "чехол", CASES), row(21, "нож", deep)]
    found = stats_of(write(rows)).categories
    assert found
    assert (found.count, found.singletons, found.tail, found.top) == (3, 2, 2, 3)
    assert found.depths == {2: 2, 3: 1}
    assert found.head_products == round(12 / 14, 4)
    assert [(each.category_id, each.products) for each in found.largest] == [(SHOES[0], 12), (CASES[0], 1), (33, 1)]


def test_files_without_labels_have_no_categories(rubrika: Rubrika, write: Write) -> None:
    done = rubrika("stats", write([unlabelled(1, "кеды"), unlabelled(2, "кеды")]), "--json")
    assert done.json["categories"] is None
    assert done.json["same_text"]["at_odds"] is None
    assert done.json["same_text"]["rows"] == 2


def test_a_field_is_empty_when_nothing_can_be_read_in_it(write: Write) -> None:
    picture = "<p><img src='1.jpg'></p>"
    rows = [
        unlabelled(1, "кеды", description=picture, attributes=[" "], filters={"Бренд": []}) | {"rating": 0.0},
        unlabelled(2, "кеды", description="белые", attributes=["из кожи"], filters={"Бренд": ["Ко"]}) | {"rating": 4.5},
    ]
    found = stats_of(write(rows), labelled=False).empty
    assert [found[name] for name in ("title", "description", "attributes", "filters", "rating")] == [0, 1, 1, 1, 1]
    assert "shop_title" not in found


def test_of_a_table_with_columns_of_its_own_those_that_it_has_are_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.csv"
    file.write_text("sku,name,brand,shade\n1,кеды,,белый\n2,чехол,,\n", encoding="utf-8")
    columns = columns_of("id=sku,title=name,text=brand,text=shade", None)
    found = stats_of(file, labelled=False, columns=columns).empty
    assert found == {"title": 0, "brand": 2, "shade": 1}
    file.write_text('sku,text_fields,brand\n1,oops,Bosch\n2,"{""title"": ""кеды""}",\n', encoding="utf-8")
    columns = columns_of("id=sku,text=brand,text=brand", None)
    assert stats_of(file, labelled=False, columns=columns).empty["brand"] == 1


def test_letters_hint_at_the_language() -> None:
    texts = ["Ёлка новогодняя", "iPhone case", "Чехол iPhone", "手机壳", "12 × 4", "", "Смартфон обычный недорогой X"]
    said = [SCRIPTS[place] for place in scripts_of(texts)]
    assert said == ["cyrillic", "latin", "mixed", "other", "none", "none", "cyrillic"]


def test_pictures_are_missing_or_broken(rubrika: Rubrika, write: Write, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("RGB", (40, 30), "red").save(folder / "1.jpg")
    (folder / "2.jpg").write_bytes((folder / "1.jpg").read_bytes()[:300])
    (folder / "3.png").write_text("<html>")
    path = write([row(number, f"кеды {number}") for number in range(1, 6)])
    found = rubrika("stats", path, "--images", folder, "--json").json["pictures"]
    broken = {"is HTML or SVG, not JPEG, PNG or WEBP": 1, "is truncated": 1}
    assert found == {"usable": 1, "missing": 2, "broken": broken}


def test_rows_that_are_no_products_are_counted_by_reason(write: Write) -> None:
    found = stats_of(write([row(1, "кеды"), row(2, ""), row(3, " ")]))
    assert (found.rows, found.products, found.rejected) == (3, 1, {"text_fields has no title": 2})


def test_a_file_without_a_product_is_refused_in_a_sentence(rubrika: Rubrika, write: Write) -> None:
    done = rubrika("stats", write([row(1, "")]))
    assert (done.code, done.out) == (1, "")
    assert "no row of it is a product (text_fields has no title)" in done.err


def test_a_report_that_cannot_be_written_is_known_before_the_work(rubrika: Rubrika, write: Write) -> None:
    path = write([row(1, "кеды")])
    done = rubrika("stats", path, "--report", path)
    assert done.code == 1
    assert "cannot be written" in done.err
    assert "reading" not in done.err


def test_a_person_reads_tables(rubrika: Rubrika, market: Path) -> None:
    done = rubrika("stats", market / "train.parquet", market / "test.parquet")
    assert done.code == 0, done.err
    for words in ("length of a text", "sorting saves", "text, nearly", "empty fields", "cyrillic"):
        assert words in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_a_report_is_one_page_and_all_figures(rubrika: Rubrika, write: Write, tmp_path: Path) -> None:
    sly = (44, "Все категории-><script>alert(1)</script>->Носки")
    path = write([row(1, "носки", sly), row(2, "кеды")])
    done = rubrika("stats", path, "--report", tmp_path / "report", "--json")
    page = (tmp_path / "report" / "stats.html").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "report" / "stats.json").read_text(encoding="utf-8")) == done.json
    assert page.count("<svg") == 6
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")


def test_the_same_files_give_the_same_bytes(rubrika: Rubrika, market: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        rubrika("stats", market / "train.parquet", "--report", tmp_path / name)
    for file in ("stats.html", "stats.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize("name", ["c.parquet", "c.csv", "c.tsv", "c.jsonl", "c.xlsx"])
def test_all_categories_go_into_a_table(rubrika: Rubrika, tmp_path: Path, name: str) -> None:
    labels = ["Обувь > Кеды"] * 12 + ["Обувь > Туфли"] * 10 + ["Чехлы"] * 8
    lines = [f"SKU-{place},товар {place},{label}" for place, label in enumerate(labels)]
    (tmp_path / "shop.csv").write_text("\n".join(["product_id,title,category", *lines]), encoding="utf-8")
    done = rubrika("stats", tmp_path / "shop.csv", "-o", tmp_path / name, "--json")
    assert done.code == 0, done.err
    assert "every" not in done.json["categories"]
    read = {".parquet": pd.read_parquet, ".csv": pd.read_csv, ".xlsx": pd.read_excel}
    read |= {".tsv": lambda path: pd.read_csv(path, sep="\t"), ".jsonl": lambda path: pd.read_json(path, lines=True)}
    assert read[Path(name).suffix](tmp_path / name).to_dict("records") == [
        {"category_id": "Обувь > Кеды", "category_name": "Обувь->Кеды", "products": 12, "share": 0.4},
        {"category_id": "Обувь > Туфли", "category_name": "Обувь->Туфли", "products": 10, "share": 0.333333},
        {"category_id": "Чехлы", "category_name": "Чехлы", "products": 8, "share": 0.266667},
    ]


def test_a_table_of_categories_is_refused_before_the_work(rubrika: Rubrika, write: Write, tmp_path: Path) -> None:
    file = write([row(1, "кеды")])
    said = {
        tmp_path / "c.doc": "a table is written as .parquet",
        file: "named twice",
        "-": '"category_id","category_name","products","share"\n11,"',
    }
    for output, words in said.items():
        done = rubrika("stats", file, "-o", output)
        assert words in (done.out if output == "-" else done.err), done
    assert rubrika("stats", file, "-o", "-", "--json").code == 2
    plain = write([unlabelled(1, "кеды")], "plain.parquet")
    assert "without labels, so there is no table of categories" in rubrika("stats", plain, "-o", "-").err


def test_pictures_are_found_by_text_ids_and_in_rows(rubrika: Rubrika, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "SKU-1.png")
    bytes_of = (tmp_path / "SKU-1.png").read_bytes()
    rows = pd.DataFrame({"product_id": ["SKU-1", "SKU-2"], "title": ["кеды", "чехол"]})
    rows.to_parquet(tmp_path / "shop.parquet")
    found = rubrika("stats", tmp_path / "shop.parquet", "--images", tmp_path, "--json").json["pictures"]
    assert found == {"usable": 1, "missing": 1, "broken": {}}
    rows.assign(image=[bytes_of, bytes_of[:40]]).to_parquet(tmp_path / "own.parquet")
    found = rubrika("stats", tmp_path / "own.parquet", "--json").json["pictures"]
    assert (found["usable"], len(found["broken"])) == (1, 1)
