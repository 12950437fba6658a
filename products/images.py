"""Finds the pictures of products and opens them safely."""

import errno
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from rubrika.errors import InputError
from rubrika.products.product import Products

MAX_BYTES, MAX_PIXELS = 20_000_000, 50_000_000
SHOWN = 3  # names in a message
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
# `007.jpg` belongs to the product 007, not to 7: an id is written in one way only.
_NAME = re.compile(r".+\.(?:jpe?g|png|webp)", re.IGNORECASE)

# The plugins are called directly: Image.open warns of large pictures before their size can be checked.
_READERS: dict[bytes, Callable[[BytesIO], ImageFile.ImageFile]] = {
    b"\xff\xd8\xff": JpegImageFile,
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"RIFF": WebPImageFile,
}
_REFUSED = {b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"%PDF": "PDF", b"<": "HTML or SVG"}


class PictureError(ValueError):
    """A picture that cannot be used; the message continues its name: `is truncated`."""


@dataclass(frozen=True)
class PictureFolder:
    """Pictures of products: in the rows themselves, or in a folder, by the name in a row or `<product_id>.jpg`."""

    folder: Path | None  # None: in the rows alone
    names: Mapping[str, str] = field(default_factory=dict)  # of the folder's files, by product id as it is written

    @classmethod
    def scan(cls, folder: Path) -> "PictureFolder":
        """List the folder once; of several pictures of a product the first by suffix, then by name, counts."""
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries if _NAME.fullmatch(entry.name) and entry.is_file()]
        except OSError as error:
            raise InputError(f"{folder}: this folder of pictures cannot be read ({error.strerror})") from None
        # From the last to the first choice, so that the first stays.
        names.sort(key=lambda name: (SUFFIXES.index(Path(name).suffix.lower()), name), reverse=True)
        return cls(folder, {Path(name).stem: name for name in names})

    def find(self, product_id: int | str, image: str | bytes = "") -> Path | bytes | None:
        """The picture of a product, None when there is none; `image` is what its row says: a file's name, or bytes."""
        if isinstance(image, bytes):
            return image or None
        if self.folder is None:
            return None
        if image:
            # A row is anybody's: it names files of this folder only. Of a path elsewhere, the last part counts.
            inside = Path(image)
            if inside.is_absolute() or ".." in inside.parts or not os.path.exists(self.folder / inside):
                inside = Path(inside.name)
            return self.folder / inside
        name = self.names.get(str(product_id))
        return self.folder / name if name else None


def unmatched(pictures: PictureFolder, products: Products) -> str | None:
    """Why no product has a picture, in a sentence; None where one has."""
    first = list[str]()
    for batch in products:
        for product in batch.products:
            if pictures.find(product.own_id, product.image):
                return None
        first += [str(it.image or it.own_id) for it in batch.products[:SHOWN] if isinstance(it.image, str)]
    there = ", ".join(sorted(pictures.names.values())[:SHOWN]) or "none"
    wanted = ", ".join(first[:SHOWN]) or "none"
    rule = "call each by its product_id, or say with `columns` which column has their names: image=COLUMN"
    return f"{pictures.folder}: no picture of these products ({wanted}, …) among its pictures ({there}, …); {rule}"


def open_picture(path: Path | bytes, side: int | None = None) -> Image.Image:
    """Decode a picture as upright RGB on white, at most `side` pixels wide and high; of an animation the first frame.

    PictureError: it is missing, not a picture, too large, truncated or damaged.
    """
    data = picture_bytes(path)
    reader = next((reader for start, reader in _READERS.items() if data.startswith(start)), None)
    if reader is None:
        kind = next((kind for mark, kind in _REFUSED.items() if data.lstrip().startswith(mark)), "something else")
        raise PictureError(f"is {kind}, not JPEG, PNG or WEBP")
    try:
        picture: Image.Image = reader(BytesIO(data))
        pixels, limit = picture.width * picture.height, f"{MAX_PIXELS // 10**6} million"
        if pixels > MAX_PIXELS:
            raise PictureError(f"has {_millions(pixels)} million pixels, more than the {limit} that are read")
        if side:
            # A JPEG is decoded at a half, a quarter or an eighth of its size, which takes a third of the time.
            picture.draft(None, (side, side))
        picture.load()
        with suppress(Exception):  # Damaged EXIF data do not spoil the picture.
            picture = ImageOps.exif_transpose(picture)
        opened = _rgb(picture)
        if side:
            opened.thumbnail((side, side))
        return opened
    except PictureError:
        raise
    except Exception as error:  # Pillow's readers raise whatever their parsing stumbles over.
        # A WEBP says how long it is; the readers of PNG and JPEG notice a missing end themselves.
        is_cut_webp = data.startswith(b"RIFF") and int.from_bytes(data[4:8], "little") + 8 > len(data)
        cut = is_cut_webp or "truncated" in str(error).lower()
        raise PictureError("is truncated" if cut else f"is damaged ({error})") from None


def picture_hash(path: Path | bytes) -> str:
    """Sixteen hexadecimal digits that change when the file does; PictureError when it is missing or too large."""
    return blake2b(picture_bytes(path), digest_size=8).hexdigest()


def picture_bytes(path: Path | bytes) -> bytes:
    """The bytes of a picture; PictureError when it is missing, too large, or cannot be read."""
    if isinstance(path, bytes):
        if len(path) > MAX_BYTES:
            raise PictureError(f"has {_millions(len(path))} MB, more than the {MAX_BYTES // 10**6} MB that are read")
        return path
    try:
        # Checked first, because opening a pipe would wait for ever.
        if not path.is_file():
            raise PictureError("is not a file" if path.exists() else "is missing")
        with path.open("rb") as file:
            data, size = file.read(MAX_BYTES + 1), os.fstat(file.fileno()).st_size
        if len(data) > MAX_BYTES:
            raise PictureError(f"has {_millions(size)} MB, more than the {MAX_BYTES // 10**6} MB that are read")
    except OSError as error:
        # A name that no file can have, as a picture that is written out (`data:image/png;base64,…`).
        is_no_name = error.errno == errno.ENAMETOOLONG
        raise PictureError("is missing" if is_no_name else f"cannot be read ({error.strerror})") from None
    if not data:
        raise PictureError("is empty")
    return data


def _millions(count: int) -> str:
    return f"{count / 10**6:.0f}" if count >= 10**8 else f"{count / 10**6:.1f}"


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):
        # Grey with 16 bits a pixel: Pillow would clip to 255 rather than scale.
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        white.alpha_composite(picture.convert("RGBA"))
        return white.convert("RGB")
    return picture.convert("RGB")
