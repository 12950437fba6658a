"""Pictures of any kind: found by product, opened safely, refused with a reason."""

import os
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rubrika.encode.image import encode_pictures
from rubrika.errors import InputError
from rubrika.products.images import PictureError, PictureFolder, open_picture, picture_hash

RED, WHITE = (220, 30, 30), (255, 255, 255)


def near(pixel: object, colour: tuple[int, int, int]) -> bool:
    return bool(np.abs(np.subtract(pixel, colour)).max() < 12)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def _save(picture: Image.Image, name: str = "1.png", **options: object) -> Path:
        picture.save(tmp_path / name, **options)
        return tmp_path / name

    return _save


def test_a_folder_finds_pictures_by_product_whatever_the_case_of_the_suffix(tmp_path: Path) -> None:
    for name in ("7.JPG", "8.webp", "9.Jpeg", "notes.jpg", "10.gif", "007.png", "-3.png", "²2.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "11.jpg").mkdir()
    found = PictureFolder.scan(tmp_path)
    assert found.find(7) == tmp_path / "7.JPG"
    assert found.find("007") == tmp_path / "007.png"
    assert (found.find(11), found.find(10), found.find(3)) == (None, None, None)


def test_of_several_pictures_of_a_product_the_same_is_always_taken(tmp_path: Path) -> None:
    for name in ("5.webp", "5.png", "5.JPG", "5.jpg", "5.jpeg"):
        (tmp_path / name).touch()
    assert PictureFolder.scan(tmp_path).find(5) == tmp_path / "5.JPG"


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"кеды: this folder of pictures cannot be read \(No such file or directory\)"):
        PictureFolder.scan(tmp_path / "кеды")


@pytest.mark.parametrize(("mode", "name"), [("RGB", "1.jpg"), ("CMYK", "1.jpg"), ("RGB", "1.webp"), ("P", "1.png")])
def test_every_colour_model_comes_out_red(save: Callable[..., Path], mode: str, name: str) -> None:
    picture = open_picture(save(Image.new("RGB", (20, 10), RED).convert(mode, palette=Image.Palette.ADAPTIVE), name))
    assert (picture.mode, picture.size) == ("RGB", (20, 10))
    assert near(picture.getpixel((5, 5)), RED)


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_grey_pictures_become_rgb(save: Callable[..., Path], mode: str) -> None:
    assert open_picture(save(Image.new("L", (4, 4), 255).convert(mode))).getpixel((1, 1)) == WHITE


def test_sixteen_bits_of_grey_are_scaled_not_clipped(save: Callable[..., Path]) -> None:
    deep = Image.fromarray(np.full((4, 4), 128 << 8, np.uint16))
    assert open_picture(save(deep)).getpixel((0, 0)) == (128, 128, 128)


def test_what_is_transparent_becomes_white(save: Callable[..., Path]) -> None:
    picture = Image.new("RGBA", (4, 4), (*RED, 0))
    assert open_picture(save(picture)).getpixel((0, 0)) == WHITE
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([*RED, 0, 0, 0])
    assert open_picture(save(palette, "2.png", transparency=0)).getpixel((0, 0)) == WHITE


def test_a_picture_taken_sideways_is_turned_upright(save: Callable[..., Path]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert open_picture(save(Image.new("RGB", (20, 10), RED), "1.jpg", exif=exif)).size == (10, 20)


@pytest.mark.parametrize("name", ["1.jpg", "1.png"])
def test_a_large_picture_is_made_smaller_and_looks_the_same(save: Callable[..., Path], name: str) -> None:
    picture = Image.radial_gradient("L").resize((2_400, 1_200)).convert("RGB")
    small = open_picture(save(picture, name), 300)
    assert small.size == (300, 150)
    assert np.abs(np.subtract(small, picture.resize((300, 150)), dtype=int)).max() < 8
    assert open_picture(save(Image.new("RGB", (20, 10)), "2.jpg"), 300).size == (20, 10)


def test_of_an_animation_the_first_frame_is_taken(save: Callable[..., Path]) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, (0, 0, 255))]
    for name in ("1.webp", "2.png"):
        path = save(frames[0], name, save_all=True, append_images=frames[1:], duration=50)
        assert near(open_picture(path).getpixel((3, 3)), RED)


def test_a_wrong_suffix_does_not_matter_a_wrong_format_does(save: Callable[..., Path]) -> None:
    assert open_picture(save(Image.new("RGB", (4, 4), RED), "1.jpg", format="PNG")).size == (4, 4)
    with pytest.raises(PictureError, match=r"^is GIF, not JPEG, PNG or WEBP$"):
        open_picture(save(Image.new("RGB", (4, 4)), "2.jpg", format="GIF"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"<svg onload='alert(1)'/>", "is HTML or SVG, not JPEG, PNG or WEBP"),
        ("кроссовки".encode(), "is something else, not JPEG, PNG or WEBP"),
        (b"\xff\xd8\xff" + b"\0" * 100, "is damaged"),
        (b"\x89PNG\r\n\x1a\n" + b"\xff" * 100, "is damaged|is truncated"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "1.jpg").write_bytes(content)
    with pytest.raises(PictureError, match=f"^({reason})"):
        open_picture(tmp_path / "1.jpg")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_picture_is_refused_wherever_it_was_cut(tmp_path: Path, kind: str) -> None:
    whole = BytesIO()
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(whole, kind)
    data = whole.getvalue()
    path = tmp_path / "1.jpg"
    for part in (0.1, 0.5, 0.9):
        path.write_bytes(data[: int(len(data) * part)])
        with pytest.raises(PictureError):
            open_picture(path)
    assert_reason(path, "is truncated")


def test_damaged_pictures_raise_nothing_else(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    path = tmp_path / "1.jpg"
    for kind in ("JPEG", "PNG", "WEBP"):
        whole = BytesIO()
        Image.new("RGB", (40, 40), RED).save(whole, kind)
        for _ in range(60):
            data = bytearray(whole.getvalue())
            for place in random.integers(8, len(data), 6):
                data[place] = random.integers(256)
            path.write_bytes(data)
            try:
                open_picture(path)
            except PictureError:
                continue


def test_too_many_pixels_are_refused_before_they_are_decoded(save: Callable[..., Path]) -> None:
    path = save(Image.new("1", (12_000, 10_000)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_reason(path, "has 120 million pixels, more than the 50 million that are read")


def test_too_many_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "1.jpg"
    path.write_bytes(b"\xff\xd8\xff")
    os.truncate(path, 31_000_000)
    assert_reason(path, "has 31.0 MB, more than the 20 MB that are read")
    with pytest.raises(PictureError):
        picture_hash(path)


def test_a_pipe_or_a_missing_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1.jpg")
    assert_reason(tmp_path / "1.jpg", "is not a file")
    assert_reason(tmp_path / "2.jpg", "is missing")


def test_a_picture_that_is_written_out_as_its_name_is_missing(tmp_path: Path) -> None:
    found = PictureFolder.scan(tmp_path).find(1, "data:image/png;base64,iVBORw0KGgo/" + "A" * 5_000)
    assert_reason(found, "is missing")
    with pytest.raises(PictureError, match="^is missing$"):
        picture_hash(found)


def test_the_hash_follows_the_content(save: Callable[..., Path]) -> None:
    red, again = save(Image.new("RGB", (4, 4), RED)), save(Image.new("RGB", (4, 4), RED), "2.png")
    assert picture_hash(red) == picture_hash(again)
    assert len(picture_hash(red)) == 16
    assert picture_hash(red) != picture_hash(save(Image.new("RGB", (4, 4)), "3.png"))


class MeanColour:
    """A picture encoder small enough to see through."""

    size = 3
    identity = "0" * 16

    def __init__(self) -> None:
        self.batches: list[int] = []

    def encode(self, pictures: list[Image.Image]) -> np.ndarray:
        self.batches.append(len(pictures))
        means = np.asarray([np.asarray(picture, np.float32).mean((0, 1)) + 1 for picture in pictures])
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)


def test_unusable_pictures_are_counted_and_the_others_stay_in_order(save: Callable[..., Path], tmp_path: Path) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)]
    paths: list[Path | None] = [save(Image.new("RGB", (8, 8), c), f"{n}.png") for n, c in enumerate(colours)]
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\0\0")
    paths[1:1] = [None, tmp_path / "broken.jpg"]
    encoder = MeanColour()
    vectors, failures = encode_pictures(encoder, paths, batch=2)
    assert np.flatnonzero(vectors.any(axis=1)).tolist() == [0, 3, 4, 5, 6]
    assert list(failures) == [2]
    assert encoder.batches == [2, 2, 1]
    np.testing.assert_allclose(vectors[[0, 3, 4]], np.eye(3), atol=0.01)


def test_no_pictures_give_no_vectors() -> None:
    vectors, failures = encode_pictures(MeanColour(), [None, None])
    assert (vectors.shape, vectors.any(), failures) == ((2, 3), False, {})


def assert_reason(path: Path, reason: str) -> None:
    with pytest.raises(PictureError) as caught:
        open_picture(path)
    assert str(caught.value) == reason
    assert isinstance(caught.value, ValueError)
