# %% [markdown]
# # From a CSV file to a review queue
#
# A shop has a table of products with categories, and new products without. This notebook goes from there to categories
# for the new ones, and to a short list of those that a person should look at. The same as commands:
# `docs/quickstart.md`.
#
# It needs `pip install 'rubrika[train]'` and no network: the shop is made up, in the first cell. Put your own files in
# their place.

# %%
import tempfile
from pathlib import Path

import pandas as pd

import rubrika
from rubrika.products.text import parse_fields
from rubrika.sample import write_sample

here = Path(tempfile.mkdtemp(prefix="rubrika-"))
write_sample(here / "market", seed=3, products=1_200)

goods = pd.read_parquet(here / "market/train.parquet")
goods = goods[goods["category_name"].str.split("->").str[1].isin(["Дом", "Одежда", "Электроника"])]
texts = goods["text_fields"].map(parse_fields)
shop = pd.DataFrame(
    {
        "sku": [f"A-{number}" for number in goods["product_id"]],
        "name": texts.str["title"],
        "descr": texts.str["description"],
        "category": goods["category_name"].str.split("->").str[1:].str.join(" > "),
    }
)
is_new = [place % 3 == 0 for place in range(len(shop))]
known, asked = shop[[not each for each in is_new]], shop[is_new]
known.to_csv(here / "catalogue.csv", index=False)
asked.drop(columns="category").to_csv(here / "new.csv", index=False)
known.head()

# %% [markdown]
# ## Learn and fill the index
#
# Say once how the columns are called: the index remembers it. An encoder is learned from the labels, on the processor,
# and the index is calibrated on its own products, so that it knows how far it can be trusted.

# %%
columns = {"id": "sku", "title": "name", "description": "descr", "category": "category"}
index = rubrika.Index.open(here / "index")
report = index.ingest(here / "catalogue.csv", columns=columns)
assert report.added + len(report.rejects) == len(known)
print(f"{report.added} products stored, {len(report.rejects)} rows set aside")

# %% [markdown]
# ## Categories for the new products
#
# One row an input row, in its order, with your own ids and labels. `confidence` is how likely the prediction is right.

# %%
done = index.classify_file(here / "new.csv", here / "result.csv", details=here / "details.parquet")
details = pd.read_parquet(here / "details.parquet")
assert details["product_id"].tolist() == asked["sku"].tolist()
details[["product_id", "predicted_category_id", "confidence", "decision"]].head()

# %% [markdown]
# ## How many need nobody's look?
#
# You say how many of the automatic answers may be wrong; the index says which answers keep to that. A shop of some
# hundred products can promise little, so a small error leaves everything to a person. Nothing is searched again for
# another bound.


# %%
def decided(max_error: float) -> dict[str, int]:
    """How many products get each decision at that maximum error rate."""
    return index.decide(here / "details.parquet", max_error, here / "decided.parquet")


pd.DataFrame({f"at most {bound:.0%} wrong": decided(bound) for bound in (0.05, 0.1, 0.15, 0.2)}).fillna(0).astype(int)

# %% [markdown]
# ## The review queue
#
# What is not automatic waits for a person, the least sure first, each with its suggestion and with the product that it
# is most like.

# %%
decided(0.2)
queue = pd.read_parquet(here / "decided.parquet").query("decision != 'auto'").sort_values("confidence")
nearest = queue["neighbours"].map(lambda hits: hits[0]["product_id"] if len(hits) else None)
queue = queue.assign(nearest=nearest).merge(asked[["sku", "name"]], left_on="product_id", right_on="sku")
queue = queue[["sku", "name", "predicted_category_id", "confidence", "decision", "nearest"]]
queue.to_csv(here / "queue.csv", index=False)
queue.head(10)

# %% [markdown]
# In a browser, with pictures and one key a decision, that is the review desk (`docs/review.md`):
#
# ```sh
# rubrika review details.parquet --products new.csv --open
# ```
#
# Why is the first one where it is? The vote, the neighbours and the words that mattered:

# %%
why = index.explain(title=queue["name"].iloc[0])
pd.DataFrame(why.to_dict()["neighbours"])

# %% [markdown]
# ## A person decides, and it counts at once
#
# Here the person is played by the labels that we held back. `verified` keeps a person's labels when a later catalogue
# says otherwise.

# %%
answers = asked[asked["sku"].isin(queue["sku"])]
answers.to_csv(here / "answers.csv", index=False)
learned = index.ingest(here / "answers.csv", columns=columns, verified=True, by="the notebook")
assert learned.added == len(answers)

again = index.classify(here / "new.csv", include_self=True).to_frame().set_index("product_id")
right = again.loc[answers["sku"], "predicted_category_id"].to_numpy() == answers["category"].to_numpy()
print(f"{learned.added} corrected; {right.mean():.0%} of these are now predicted as the person said")
index.close()

# %% [markdown]
# Next: `rubrika evaluate catalogue.csv` says how good that is on products held out, `rubrika audit` lists labels that
# are probably wrong (`auditing_a_catalogue.py`), and `rubrika ingest` of tomorrow's file encodes only what is new
# (`docs/ingesting.md`).
