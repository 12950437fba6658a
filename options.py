"""The options of commands: their names, their limits and what they are for."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

INDEX = Path("rubrika-index")
CACHE = Path("~/.cache/rubrika")
MAX_ERROR, CONFIDENCE, NEW_RATE = 0.02, 0.9, 0.02

Files = Annotated[list[Path], Argument(help="Tables of labelled products.", metavar="FILE...")]
SomeFiles = Annotated[
    list[Path] | None, Argument(metavar="[FILE...]", help="Files of products. [default: those ingested]")
]
IndexFolder = Annotated[Path, Option("--index", envvar="RUBRIKA_INDEX", help="The index folder.")]
Url = Annotated[str | None, Option(envvar="QDRANT_URL", help="A Qdrant server instead of the folder.")]
Collection = Annotated[str | None, Option(help="The collection on the server.")]
CaCert = Annotated[
    Path | None,
    Option(
        metavar="FILE", envvar="QDRANT_CA_CERT", help="Whom to trust for TLS, in PEM. [default: whom everybody does]"
    ),
]
Adopt = Annotated[bool, Option("--adopt", help="Take up an empty collection that was made for this index.")]
AsJson = Annotated[bool, Option("--json", help="Print one JSON object and nothing else.")]
TopK = Annotated[int | None, Option(min=1, max=1000, help="How many hits vote. [default: the index's setting]")]
Images = Annotated[Path | None, Option(metavar="DIR", help="Pictures, named by product_id.")]
Shown = Annotated[list[Path] | None, Option("--images", metavar="DIR", help="Pictures to show; may be repeated.")]
Classified = Annotated[
    list[Path] | None, Option("--products", metavar="FILE", help="The table that was classified; may be repeated.")
]
Cache = Annotated[Path, Option(envvar="RUBRIKA_CACHE", help="Keeps vectors of pretrained encoders.")]
TextEncoder = Annotated[str | None, Option(metavar="SPEC", help="learned, rubert, use, a model's name or folder.")]
ImageEncoder = Annotated[
    str | None, Option(metavar="SPEC", help="vit, clip, efficientnet-lite0, a model's name or folder.")
]
Backend = Annotated[Literal["torch", "onnx-int8"], Option(help="Runs a pretrained text encoder.")]
Pooling = Annotated[
    Literal["pooler", "mean", "cls"] | None,
    Option(help="How a pretrained text encoder pools its tokens. [default: the model's own]"),
]
Vote = Annotated[
    Literal["joint", "text", "image", "late"] | None,
    Option(help="Whose neighbours vote; late fuses the votes by text and by image."),
]
MaxError = Annotated[float, Option(min=0, max=1, help="Maximum error rate among automatic decisions.")]
Confidence = Annotated[float, Option(min=0, max=1, help="How surely that rate, and the next, is kept.")]
NewRate = Annotated[float, Option(min=0, max=1, help="Maximum part of known products flagged as new.")]
Groups = Annotated[str | None, Option("--group-by", metavar="COLUMN", help="Names groups of near duplicates.")]
GroupBy = Annotated[str | None, Option(metavar="COLUMN", help="Hold out whole groups: rows alike in this column.")]
Holdout = Annotated[float, Option(min=0, max=1, help="The part of the products held out.")]
Seed = Annotated[int, Option(min=0, help="Chooses what is drawn at random.")]
Rejects = Annotated[
    Path | None, Option(help="Where rejected rows go, with their reasons. [default: beside the output]")
]
Rename = Annotated[bool, Option("--rename", help="Most categories have other names now, and that is meant.")]
By = Annotated[str | None, Option(metavar="NAME", help="The person who set the labels. [default: the user]")]
ProductId = Annotated[str | None, Argument(metavar="[PRODUCT_ID]", help="A stored product.")]
Title = Annotated[str | None, Option(help="The title of a product that need not be stored.")]
Picture = Annotated[Path | None, Option("--image", metavar="FILE", help="The picture of a product.")]
Report = Annotated[Path | None, Option(metavar="DIR", help="A folder for a page with charts.")]
Host = Annotated[str, Option(metavar="ADDRESS", help="Where to listen; beyond this machine with RUBRIKA_TOKEN.")]
Port = Annotated[int, Option(min=0, max=65_535, help="The port there; 0 takes a free one.")]
Workers = Annotated[int, Option(min=1, max=64, help="Processes that answer, each with the index open.")]
Epochs = Annotated[int, Option(min=1, help="How often every product is seen.")]
Minutes = Annotated[float | None, Option(help="Stop after this time, with the best model so far.")]
FreezeLayers = Annotated[int | None, Option(help="Leave the first N layers as they are: much faster on a CPU.")]
MaxTokens = Annotated[int | None, Option(help="Longer texts are cut. [default: 300]")]
BaseText = Annotated[str, Option(metavar="SPEC", help="rubert, or a model's name or folder.")]
Methods = Annotated[
    str | None,
    Option(
        metavar="NAMES",
        help="Compare with other methods: all, or some of knn, linear, mlp, tfidf-knn, tfidf-svm, fasttext and "
        "ensemble (of the others named with it), comma-separated.",
    ),
]
Protocol = Annotated[
    Literal["kazanexpress"] | None,
    Option(help="Measure as another study did: its part of the rows, at random, and the mode of its k."),
]
# Of points on a server: the fields of `ServerOptions`.
Shards = Annotated[int | None, Option(min=1, help="Parts that a cluster spreads over its nodes.")]
Replicas = Annotated[int | None, Option(min=1, help="Copies of each part.")]
WriteConsistency = Annotated[int | None, Option(min=1, help="Copies that must have a write.")]
OnDisk = Annotated[bool, Option("--on-disk", help="Keep full vectors on disk, quantised ones in memory.")]
Quantisation = Annotated[
    Literal["none", "int8", "turbo"] | None, Option(help="Of the vectors that are scanned. [default: int8]")
]
HnswM = Annotated[
    int | None, Option("--graph-links", min=0, help="Links of a point in the HNSW graph (m); 0 scans. [default: 16]")
]
EfConstruct = Annotated[
    int | None,
    Option("--graph-effort", min=4, help="Candidates weighed for each link (ef_construct). [default: 100]"),
]
GraphFrom = Annotated[
    int | None, Option(min=0, help="From how many products on there is a graph. [default: 500,000; 0 with its links]")
]
HnswEf = Annotated[
    int | None, Option("--search-effort", min=1, help="Candidates kept in the graph (ef). [default: 1,024 or more]")
]
Oversampling = Annotated[
    float | None,
    Option(min=1, help="How many times more are found by quantised vectors, to be rescored. [default: 32 or more]"),
]
Exact = Annotated[bool, Option("--exact", help="Compare with every product, by no graph and no quantised vectors.")]
Strict = Annotated[
    bool, Option("--strict", help="Fail at the first row that would be rejected, or name that is not clear.")
]
DeleteMissing = Annotated[bool, Option("--delete-missing", help="Delete products of which these files have no row.")]
Verified = Annotated[
    bool, Option("--verified", help="A person set all these categories; later catalogues do not change them.")
]
Level = Annotated[
    int | None, Option(min=1, help="Predict at this level of the tree, 1 being the top. [default: the leaf]")
]
IncludeSelf = Annotated[bool, Option("--include-self", help="Let a product that is stored vote on itself.")]
Prefix = Annotated[str | None, Option(help="What the name of the server's temporary collection begins with.")]
Vector = Annotated[
    str | None, Option(metavar="NAME", help="text, image or joint. [default: image for a picture, else text]")
]
EncoderFolder = Annotated[
    Path | None,
    Option("--encoder", metavar="DIR", help="Where the learned text encoder goes, for sentence-transformers."),
]
Embeddings = Annotated[Path | None, Option(metavar="FILE", help="Where the vectors of all products go: .parquet.")]
Vectors = Annotated[
    list[str] | None, Option("--vector", metavar="NAME", help="Of these; may be repeated. [default: text]")
]
Nearest = Annotated[
    int, Option("--neighbours", min=0, max=1000, help="The nearest products of each, by the first; 0: none.")
]
Duplicates = Annotated[Path | None, Option(metavar="FILE", help="Where near duplicates with different categories go.")]
Tokens = Annotated[
    str | None, Option(metavar="SPEC", help="Whose tokens to count: learned, rubert, a model's name or folder.")
]
AlikeBy = Annotated[str | None, Option(metavar="COLUMN", help="Also count rows that are alike in this column.")]
Categories = Annotated[
    Path | None, Argument(metavar="[FILE]", help="A table of category_id and category_name, to add.")
]
ToDelete = Annotated[list[str], Argument(metavar="ID...|FILE", help="Product ids, or a table with product_id.")]
What = Annotated[
    str | None, Argument(metavar="[PRODUCT_ID|FILE]", help="A product; or a table of labels, or of categories.")
]
Category = Annotated[str | None, Argument(metavar="[CATEGORY_ID]", help="What it is. [default: what it has is right]")]
Source = Annotated[str | None, Option("--from", metavar="ID", help="The category that products leave.")]
Target = Annotated[str | None, Option("--to", metavar="ID", help="The category they get.")]
Columns = Annotated[
    str | None,
    Option(metavar="NAME=COLUMN,…", help="How columns are called: id=sku,title=name,category=cat,text=brand."),
]
PathSeparator = Annotated[
    str | None, Option(metavar="TEXT", help="Between the levels of a category's path. [default: found in the labels]")
]
CategoryPath = Annotated[
    str | None, Option(metavar="PATH", help="The full path of the category, when it is new or gets another name.")
]
Alias = Annotated[str | None, Option(help="A second name, switched to the collection once all products are there.")]
Monitor = Annotated[Path | None, Option(metavar="FILE", help="Append a line about this run, for `info --drift`.")]
Drift = Annotated[
    Path | None, Option(metavar="FILE", help="Compare the last runs in this file with the products calibrated on.")
]
Live = Annotated[
    Path | None, Option("--index", metavar="DIR", help="Score this index as it is; nothing is held out or learned.")
]
FailBelow = Annotated[
    list[str] | None,
    Option(metavar="NAME=NUMBER", help="Exit 1 when this figure of the JSON is less, as weighted_f1=0.9; repeatable."),
]
# Where work is spread to: the fields of `retrieve.ray.Ray`.
OnRay = Annotated[bool, Option("--ray", help="Spread the work over actors of Ray; the points are on a server.")]
RayAddress = Annotated[
    str | None,
    Option(envvar="RAY_ADDRESS", metavar="ADDRESS", help="A cluster of Ray, as HOST:6379. [default: this machine]"),
]
Actors = Annotated[int | None, Option(min=1, help="How many open the encoders. [default: one a processor]")]
ActorGpus = Annotated[float, Option(min=0, help="What each of them has of a GPU.")]
