"""The learned text encoder of an index as a model's folder, which sentence-transformers opens and a hub takes."""

import json
import shutil
from pathlib import Path

from rubrika import __version__
from rubrika.encode.learned import CONFIG, WEIGHTS, LearnedConfig
from rubrika.errors import RubrikaError
from rubrika.files import check_folder, writable, write_in_one_step
from rubrika.index.folder import LEARNED, Index
from rubrika.index.manifest import TEXT

MODULE = "rubrika.encode.sentence.LearnedText"
CARD, SETTINGS, MODULES = "README.md", "config_sentence_transformers.json", "modules.json"


def write_encoder(index: Index, folder: Path) -> None:
    """Write the learned text encoder as sentence-transformers opens it, in place of an earlier one."""
    spec, source = index.manifest.vectors[TEXT], index.encoder_files / TEXT
    if spec.encoder != LEARNED:
        known = f"its text encoder, {spec.encoder}, is not learned by Rubrika"
        raise RubrikaError(f"{index.folder}: {known}; open that model itself, and leave `encoder` out")
    module = {"idx": 0, "name": "0", "path": "", "type": MODULE}
    settings = {
        "model_type": "SentenceTransformer",
        "prompts": {},
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
        "requirements": {"rubrika": {"specifier": f">={__version__}", "reason": "It has the class of the module."}},
    }
    texts = {
        CARD: card_of(index.learned[TEXT], spec.sha256),
        SETTINGS: json.dumps(settings, indent=2) + "\n",
        MODULES: json.dumps([module], indent=2) + "\n",
    }
    # A clone of a model's repository has hidden files of its own.
    check_folder(folder, lambda name: name[0] == "." or name in {CONFIG, WEIGHTS, *texts})
    with writable(folder):
        # What makes it a model comes last, so that it is never half of one.
        (folder / MODULES).unlink(missing_ok=True)
        for name in (CONFIG, WEIGHTS):
            # Never through a link that somebody put there.
            (folder / name).unlink(missing_ok=True)
            shutil.copyfile(source / name, folder / name)
        for name, text in texts.items():
            write_in_one_step(folder / name, text)


def card_of(config: LearnedConfig, sha256: str) -> str:
    """The model card; the same encoder gives the same text."""
    views = "learned and margin, side by side" if config.width > config.size else "one"
    rows = {
        "products learned from": f"{config.products:,}",
        "categories": f"{len(config.categories):,}",
        "width": f"{config.width:,}",
        "views": views,
        "SHA-256 of its files, as in the index": f"`{sha256}`",
        "made by": f"Rubrika {__version__}",
    }
    table = "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])
    return _CARD.replace("TABLE", table)


_CARD = """---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags:
- sentence-transformers
- sentence-similarity
- feature-extraction
- product-classification
- rubrika
---

# A text encoder learned from labelled products

Texts of products in, unit vectors out: the higher the cosine of two, the likelier their products are of one category.
It was learned from the products of a shop and their categories alone, with no pretrained model, and runs on a CPU.

TABLE

## Use

`pip install rubrika sentence-transformers`, and with the name of this model or its folder:

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("MODEL", trust_remote_code=True)
vectors = model.encode(["кеды женские белые", "чайник электрический\\nБренд: Bosch"])
```

There is no code here: sentence-transformers asks for `trust_remote_code` because the module's class is not its own, but
that of the installed package `rubrika`. `rubrika.encode.sentence.sentence_transformer("MODEL")` needs no such word.

A text is the title of a product, and on lines of their own what else is known of it, such as `Бренд: Bosch`.

## Limits

- It knows the words of those products; of others it knows parts at most.
- It is run, not trained further.
- It holds no texts and no names, but ids of the categories, and hashes of the words that it was learned from: whoever
  has it can find out whether a word was among them.
"""
