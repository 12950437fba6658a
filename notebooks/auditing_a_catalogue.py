# %% [markdown]
# # Auditing a catalogue
#
# Which labels of a catalogue are wrong? Every product is judged by encoders that have not seen its label, those that
# are probably wrong are listed, the surest first, and a person says what is right. How it works, and what it finds on
# real shops: `docs/audit.md`.
#
# It needs `pip install 'rubrika[train]'` and no network: the catalogue is made up, and we know which labels are wrong,
# as we exchange them ourselves.

# %%
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import rubrika
from rubrika.sample import write_sample

here = Path(tempfile.mkdtemp(prefix="rubrika-"))
write_sample(here / "market", seed=3, products=1_200)
right = pd.read_parquet(here / "market/train.parquet")
right = right[right["category_name"].str.split("->").str[1].isin(["Дом", "Одежда", "Электроника"])]
# A category that loses its only products cannot be judged, nor suggested.
right = right[right.groupby("category_id")["category_id"].transform("size") >= 4].reset_index(drop=True)

random = np.random.default_rng(0)
names = right.drop_duplicates("category_id").set_index("category_id")["category_name"]
chosen = random.choice(len(right), len(right) // 20, replace=False)
others = [random.choice(names.index[names.index != own]) for own in right["category_id"].iloc[chosen]]

catalogue = right.copy()
catalogue.loc[chosen, "category_id"] = others
catalogue["category_name"] = catalogue["category_id"].map(names)
wrong = set(catalogue["product_id"].iloc[chosen].tolist())
print(f"{len(catalogue)} products in {len(names)} categories, {len(wrong)} of them with a wrong label")

# %% [markdown]
# ## The list
#
# `expected` is how many wrong labels the audit believes there are; `confidence` how likely each of those listed is one.

# %%
index = rubrika.Index.open(here / "index")
index.ingest(catalogue)
report = index.audit(here / "audit.parquet", here / "pairs.parquet")
suspects = pd.read_parquet(here / "audit.parquet")
print(f"{report.suspects} listed, about {report.expected} expected to be wrong")
suspects[["title", "category_name", "suggested_category_name", "confidence"]].head(10)

# %% [markdown]
# We know the answer here: how many of the exchanged labels are among as many first rows? Drawn blindly, one in twenty
# would be. That is the easy case, as exchanged labels are far from their category, and a made-up catalogue is tidier
# than a real one.

# %%
first = set(suspects["product_id"].head(len(wrong)).tolist())
found = len(first & wrong)
assert found > len(wrong) / 2
print(f"{found} of {len(wrong)} wrong labels are among the first {len(wrong)} rows")

# %% [markdown]
# ## Categories that are mixed up, and near duplicates that disagree
#
# A pair of categories with many rows is less often a row of mistakes than two categories that mean the same: merge
# those with `rubrika relabel`. Near duplicates with different categories are the surest mistakes of all: one of each
# pair is wrong.

# %%
pd.DataFrame(report.to_dict()["confused"])

# %%
pd.read_parquet(here / "pairs.parquet").head()

# %% [markdown]
# ## A person decides
#
# The person is played by the labels from before the exchange. A label that is right is confirmed, by None, and not
# asked about again; a wrong one is corrected. Either counts at once, and no later catalogue undoes it. Over a browser
# that is the review desk: `rubrika review audit.parquet --open`.

# %%
truth = right.set_index("product_id")["category_id"]
rows = suspects.head(2 * len(wrong))
answers = {
    row.product_id: None if truth[row.product_id] == row.category_id else int(truth[row.product_id])
    for row in rows.itertuples()
}
done = index.correct(answers, by="the notebook")
print(done.to_dict())

# %% [markdown]
# ## The next audit
#
# What a person has decided is not listed again, but compared with.

# %%
left = wrong - {product for product, category in answers.items() if category is not None}
again = index.audit(here / "again.parquet")
assert not set(pd.read_parquet(here / "again.parquet")["product_id"]) & set(answers)
assert again.expected <= report.expected
print(f"{len(left)} wrong labels are left; {again.expected} are expected now, {report.expected} were before")
index.close()
