"""What requests and answers look like, for their checks and for OpenAPI."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, StrictStr, WithJsonSchema

from rubrika.index.manifest import MAX_TOP_K
from rubrika.products.identity import MAX_ID
from rubrika.products.images import MAX_BYTES
from rubrika.products.row import MAX_PERSON

# Products or labels of one request, and characters of a text in it that is no product's.
MAX_PRODUCTS, MAX_TEXT = 1_000, 10_000
Id = StrictInt | StrictStr
_EXAMPLE = {"product_id": 1, "title": "Кроссовки женские беговые", "description": "Лёгкие, на пене"}
_LABELLED = _EXAMPLE | {"product_id": 900_001, "category_id": 13_111, "category_name": "Все категории->Обувь"}
_PICTURE = "A JPEG, PNG or WEBP picture in base64."
# Any JSON object is taken here: one that is no product has its reason in the answer, beside the others.
_PRODUCT = {
    "type": "object",
    "description": "A row as docs/data.md describes it, or as those of the tables that were ingested.",
    "properties": {
        "product_id": {"description": "A whole number or a text; or `id`."},
        "title": {"description": "A text."},
        "description": {"description": "A text."},
        "text_fields": {"description": "An object, or its notation in a string, instead of title and description."},
        "picture": {"description": _PICTURE},
    },
    "additionalProperties": True,
}
Product = Annotated[dict[str, Any], WithJsonSchema(_PRODUCT)]
Picture = Annotated[StrictStr, Field(min_length=1, max_length=MAX_BYTES * 4 // 3 + 4, description=_PICTURE)]
Text = Annotated[StrictStr, Field(min_length=1, max_length=MAX_TEXT)]
TopK = Annotated[StrictInt, Field(ge=1, le=MAX_TOP_K)]


def _stored_number(text: str) -> str:
    if int(text) > MAX_ID:
        raise ValueError(f"a product's number is at most {MAX_ID}")
    return text


Number = Annotated[str, Field(pattern="^[0-9]{1,20}$"), AfterValidator(_stored_number)]


def _example(**values: object) -> ConfigDict:
    return ConfigDict(extra="forbid", json_schema_extra=lambda schema: schema.update(examples=[values]))


class ClassifyRequest(BaseModel):
    """Products to classify."""

    model_config = _example(products=[_EXAMPLE])
    products: Annotated[list[Product], Field(max_length=MAX_PRODUCTS)]
    review: Annotated[bool, Field(description="Let those wait at the review desk that are not automatic.")] = False


class NeighboursRequest(BaseModel):
    """One of a stored product, a title and a picture."""

    model_config = _example(title="кроссовки беговые", top_k=3)
    product_id: Id | None = None
    title: Text | None = None
    picture: Picture | None = None
    top_k: TopK = 10
    vector: Annotated[StrictStr, Field(max_length=20, description="text, image or joint")] | None = None


class ExplainRequest(BaseModel):
    """A stored product, or the title of any, its picture, or both."""

    model_config = _example(title="кроссовки беговые")
    product_id: Id | None = None
    title: Text | None = None
    picture: Picture | None = None
    top_k: TopK | None = None


class Label(BaseModel):
    """The category of a stored product; null says that the one it has is right."""

    model_config = ConfigDict(extra="forbid")
    product_id: Id
    category_id: Id | None


class LabelsRequest(BaseModel):
    """Corrections: labels of stored products, or new products with their labels."""

    model_config = _example(by="anna", labels=[{"product_id": 1, "category_id": 13_111}])
    by: Annotated[StrictStr, Field(min_length=1, max_length=MAX_PERSON, description="Who says so.")]
    labels: Annotated[list[Label], Field(min_length=1, max_length=MAX_PRODUCTS)] | None = None
    category_name: Annotated[Text, Field(description="The full path of the labels' one category, when new.")] | None = (
        None
    )
    products: Annotated[list[Product], Field(min_length=1, max_length=MAX_PRODUCTS, examples=[[_LABELLED]])] | None = (
        None
    )


class Level(BaseModel):
    """A level of the predicted path."""

    path: str
    share: float
    confidence: float


class Alternative(BaseModel):
    """A category that was voted for."""

    category_id: Id
    share: float


class Hit(BaseModel):
    """A neighbour that voted."""

    product_id: Id
    category_id: Id
    score: float
    vector: str


class Prediction(BaseModel):
    """What details.parquet has of a product; of an object that is none, `reason` says why."""

    model_config = ConfigDict(extra="forbid")
    product_id: Id | None
    predicted_category_id: Id | None
    predicted_category_name: str | None
    confidence: float | None
    decision: str
    sure: str | None
    suggestion: str | None
    levels: list[Level] | None
    alternatives: list[Alternative] | None
    neighbours: list[Hit] | None
    reason: str | None


class ClassifyAnswer(BaseModel):
    """A prediction for every product, in their order."""

    predictions: list[Prediction]


class LabelsAnswer(BaseModel):
    """What became of the products; each is in one of the counts."""

    model_config = ConfigDict(extra="forbid")
    added: int
    updated: int
    relabelled: int
    verified: int
    unchanged: int


class NamedCategory(BaseModel):
    """A category, and how many products it has."""

    category_id: Id
    category_name: str
    products: int


class CategoriesAnswer(BaseModel):
    """Categories whose path has all the words, those with most products first; `found` counts them all."""

    found: int
    categories: list[NamedCategory]


class Failure(BaseModel):
    """What went wrong, in one sentence."""

    error: str
