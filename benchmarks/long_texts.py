"""Lengthens the descriptions of a made-up marketplace to the lengths of KazanExpress's: what learning costs on those.

    rubrika sample market --products 20000
    python benchmarks/long_texts.py market/train.parquet long.parquet
    python benchmarks/compare.py long.parquet --group-by group_key

There the text of a product has a median of 595 characters, 90 % have at most 1,500, and none more than 2,048. A length
is drawn for each group from a log-normal distribution with that median and that part, and its descriptions are filled
up with sentences of other products of the category. Prints the lengths that came out, as JSON.
"""

import argparse
import json
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd

from rubrika.products.reader import Reader
from rubrika.products.text import parse_fields, plain_text

MEDIAN, NINTH, MAX = 595, 1_500, 2_048
DEVIATION = np.log(NINTH / MEDIAN) / 1.2816  # the 0.9 quantile of a normal distribution is 1.2816 deviations off
COLUMNS = ("product_id", "category_id", "group_key")


def lengths_of(file: Path) -> dict[int, int]:
    """The length of each product's text, by its id."""
    return {product.id: len(product.text) for batch in Reader([file], labelled=True) for product in batch.products}


def main() -> None:
    """Lengthen, write, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("output", type=Path)
    chosen = parser.parse_args()
    table, random = pd.read_parquet(chosen.file), np.random.default_rng(0)
    lengths, texts = dict[str, int](), lengths_of(chosen.file)
    fields = [parse_fields(cell) for cell in table["text_fields"]]
    said = defaultdict[int, list[str]](list)
    for category, each in zip(table["category_id"], fields, strict=True):
        said[category] += [it for it in re.split(r"[.;]\s*", plain_text(str(each["description"]))) if it]
    for id, category, group, each in zip(*(table[name] for name in COLUMNS), fields, strict=True):
        wanted = lengths.setdefault(group, int(min(random.lognormal(np.log(MEDIAN), DEVIATION), MAX)))
        have = texts[id]
        sentences = [str(each["description"])] if each["description"] else []
        while said[category] and have < wanted:
            sentences.append(said[category][random.integers(len(said[category]))])
            have += len(sentences[-1]) + 2
        each["description"] = ". ".join(sentences)
    table["text_fields"] = [json.dumps(each, ensure_ascii=False) for each in fields]
    table.to_parquet(chosen.output)
    found = list(lengths_of(chosen.output).values())
    print(json.dumps({f"{part:g}": float(np.quantile(found, part)) for part in (0.1, 0.5, 0.9, 1)}))


if __name__ == "__main__":
    main()
