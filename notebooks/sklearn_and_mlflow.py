# %% [markdown]
# # In a scikit-learn pipeline, and in MLflow without a pickle
#
# `RetrievalClassifier` is a scikit-learn classifier of texts: it learns an encoder from their labels and predicts by
# the most similar ones. So it goes wherever scikit-learn's classifiers go. At the end the same model goes into MLflow
# as code and an index folder.
#
# `docs/python.md` says what it can do besides. It needs `pip install 'rubrika[train]'` and no network, the last part
# also `pip install mlflow`.

# %%
import tempfile
from pathlib import Path

import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import rubrika
from rubrika.products.text import parse_fields
from rubrika.sample import write_sample

here = Path(tempfile.mkdtemp(prefix="rubrika-"))
write_sample(here / "market", seed=3, products=1_200)
goods = pd.read_parquet(here / "market/train.parquet")
path = goods["category_name"].str.split("->")
goods = goods.assign(label=path.str[-1], title=goods["text_fields"].map(parse_fields).str["title"])
goods = goods[path.str[1].isin(["Дом", "Одежда", "Электроника"])]
goods = goods[goods.groupby("label")["label"].transform("size") >= 4]
learned, asked = train_test_split(goods, test_size=0.25, random_state=0, stratify=goods["label"])
learned[["title", "label"]].head()

# %% [markdown]
# ## A pipeline
#
# Any step that gives texts may stand before the classifier: here one that takes out what sellers shout.


# %%
def quiet(titles: pd.Series) -> list[str]:
    """Titles without words in capitals, unless nothing else would be left."""
    calm = [" ".join(word for word in title.split() if not word.isupper()) for title in titles]
    return [short or title for short, title in zip(calm, titles, strict=True)]


pipeline = make_pipeline(FunctionTransformer(quiet), rubrika.RetrievalClassifier())
pipeline.fit(learned["title"], learned["label"])
predicted = pipeline.predict(asked["title"])
print(f"weighted F1 on {len(asked)} made-up products: {f1_score(asked['label'], predicted, average='weighted'):.3f}")

# %% [markdown]
# Parameters are chosen as of any estimator:

# %%
search = GridSearchCV(pipeline, {"retrievalclassifier__top_k": [1, 10]}, cv=2, scoring="f1_weighted")
search.fit(learned["title"], learned["label"])
pd.DataFrame(search.cv_results_)[["param_retrievalclassifier__top_k", "mean_test_score"]]

# %% [markdown]
# ## Probabilities
#
# `predict_proba` gives shares of the vote. scikit-learn makes probabilities of them; an index has calibrated
# confidences without that.

# %%
calibrated = CalibratedClassifierCV(rubrika.RetrievalClassifier(), cv=2).fit(learned["title"], learned["label"])
sure = calibrated.predict_proba(asked["title"]).max(axis=1)
print(f"{(sure > 0.5).mean():.0%} of the products get a probability above one half")

# %% [markdown]
# ## What scikit-learn's classifiers do not have
#
# A new category counts from its first products on, without learning again, and every answer has its neighbours.

# %%
classifier = rubrika.RetrievalClassifier().fit(learned["title"].tolist(), learned["label"])
new = ["самокат детский трёхколёсный", "самокат трюковой", "самокат городской складной"]
classifier.partial_fit(new, ["Самокаты"] * 3, classes=["Самокаты"])
assert classifier.predict(["самокат складной детский"]).tolist() == ["Самокаты"]

distances, places = classifier.kneighbors(["самокат складной детский"], n_neighbors=3)
pd.DataFrame({"text": [classifier.texts_[place] for place in places[0]], "distance": distances[0]})

# %% [markdown]
# ## An index, and a model of MLflow
#
# `to_index` writes a folder: `index.json`, weights as safetensors, points of Qdrant Edge. It is what the command line
# and the service read too, and nothing in it is a pickle.

# %%
classifier.to_index(here / "index")
products = pd.DataFrame({"product_id": [9_000_001, 9_000_002], "title": ["самокат детский", "плед флисовый"]})
with rubrika.Index.open(here / "index") as index:
    answers = index.classify(products).to_frame()
answers

# %% [markdown]
# MLflow keeps *models from code*: a Python file that says how to load and to predict, and the folder as an artifact.
# The file is all that MLflow runs when the model is loaded; there is no pickle to trust.

# %%
CODE = '''"""A Rubrika index as a model of MLflow: this file and the index folder, and nothing pickled."""

import mlflow
import pandas as pd

import rubrika


class CategoryModel(mlflow.pyfunc.PythonModel):
    """Predicts the categories of products."""

    def load_context(self, context):
        self.index = rubrika.Index.open(context.artifacts["index"])

    def predict(self, context, model_input: pd.DataFrame, params=None):
        return self.index.classify(model_input).to_frame()


mlflow.models.set_model(CategoryModel())
'''
(here / "category_model.py").write_text(CODE, encoding="utf-8")

try:
    import mlflow
except ImportError:
    print("MLflow is not installed, so nothing is logged; `pip install mlflow` and run this cell again.")
else:
    mlflow.set_tracking_uri(f"sqlite:///{here / 'mlflow.db'}")
    kept = mlflow.create_experiment("categories", artifact_location=(here / "artifacts").as_uri())
    with mlflow.start_run(experiment_id=kept):
        mlflow.log_params(classifier.get_params())
        logged = mlflow.pyfunc.log_model(
            name="categories",
            python_model=str(here / "category_model.py"),
            artifacts={"index": str(here / "index")},
            pip_requirements=["rubrika"],
            input_example=products,
        )
    loaded = mlflow.pyfunc.load_model(logged.model_uri)
    again = loaded.predict(products)
    assert again["predicted_category_name"].tolist() == answers["predicted_category_name"].tolist()
    assert any(here.glob("artifacts/**/index.json"))
    assert not any(here.glob("artifacts/**/*.pkl"))
    print(f"logged as {logged.model_uri}, and it answers as the index does")
