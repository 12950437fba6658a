"""What encoders have in common: the Protocol, the device, how weights are loaded, quick linear layers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from rubrika.errors import EncoderError

FloatArray = NDArray[np.float32]


class Encoder(Protocol):
    """Turns texts into vectors whose cosine says how alike two products are."""

    @property
    def size(self) -> int:
        """The width of a vector."""

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Encode texts into float32 (n, size), every row of length 1; the same text always gives the same row."""


def unit_rows(vectors: FloatArray) -> FloatArray:
    """Scale rows to length 1; a product of which nothing is known gets a direction that all such products share."""
    empty = np.full(vectors.shape[1], vectors.shape[1] ** -0.5, np.float32)
    rows: FloatArray = np.where(vectors.any(axis=1, keepdims=True), unit_or_zero(vectors), empty)
    return rows


def unit_or_zero(vectors: FloatArray) -> FloatArray:
    """Scale rows to length 1; a row of zeros stays one."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    rows: FloatArray = (vectors / np.maximum(norms, 1e-30)).astype(np.float32)
    return rows


# A CPU is quickest when what a layer says of all pictures stays in its cache.
CPU_PICTURES = 4

Module = TypeVar("Module", bound=nn.Module)


def best_device() -> torch.device:
    """The GPU when there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def placed(module: Module, device: torch.device) -> Module:
    """A module made ready to run on a device, and no longer to be trained, saved or exported."""
    module.to(device).eval()
    if device.type == "cpu":
        to_mkldnn(module)
    return module


@contextmanager
def inference(device: torch.device) -> Iterator[None]:
    """No gradients; on a GPU half precision where a layer bears it."""
    if device.type == "cpu":
        with torch.inference_mode():
            yield
        return
    half = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    with torch.inference_mode(), torch.autocast(device.type, half):
        yield


def run_pictures(
    run: Callable[[Sequence[Image.Image]], torch.Tensor], pictures: Sequence[Image.Image], device: torch.device
) -> FloatArray:
    """Run pictures through a model, on a CPU a few at a time.

    Args:
        run: pictures to vectors (m, size).
        pictures: at least one.
        device: where `run` runs.
    """
    step = CPU_PICTURES if device.type == "cpu" else len(pictures)
    with inference(device):
        parts = [run(pictures[start : start + step]).float().cpu() for start in range(0, len(pictures), step)]
    vectors: FloatArray = torch.cat(parts).numpy()
    return vectors


# Raised when the same settings begin to give other vectors, so that caches are not believed.
VERSION = "1"
MODEL_FILES = {".json", ".txt", ".model", ".safetensors", ".bin"}


class PretrainedEncoder(Encoder, Protocol):
    """A text encoder whose vectors may be kept and used again."""

    @property
    def identity(self) -> str:
        """A short hash of all that determines the vectors."""


def identity_of(*parts: object) -> str:
    """16 hexadecimal digits for an encoder's kind, model and settings."""
    return blake2b("\0".join(map(str, (VERSION, *parts))).encode(), digest_size=8).hexdigest()


def fingerprint(folder: Path) -> str:
    """What tells one model folder from another: the commit in a hub's cache, else a hash of the model's files."""
    if folder.parent.name == "snapshots":
        return f"{folder.parent.parent.name}@{folder.name}"
    digest = blake2b(digest_size=8)
    for path in sorted(path for path in folder.rglob("*") if path.suffix in MODEL_FILES and path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()} {file_hash(path)}\n".encode())
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """16 hexadecimal digits of a file's content."""
    digest = blake2b(digest_size=8)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def unit_vectors(vectors: FloatArray) -> FloatArray:
    """Scale rows to length 1.

    Raises:
        EncoderError: a value is not a number or infinite, which a store would rank first.
    """
    if not np.isfinite(vectors).all():
        raise EncoderError("the encoder gave a vector that is not finite; its weights may be damaged")
    return unit_rows(vectors)


class MkldnnLinear(nn.Module):
    """A linear layer to be run, not trained."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self._weight = linear.weight.detach().to_mkldnn()
        self.bias = None if linear.bias is None else linear.bias.detach()
        self._bias = None if self.bias is None else self.bias.to_mkldnn()

    @property
    def weight(self) -> torch.Tensor:
        """The weights as they were, for models that look at them beside running the layer."""
        return self._weight.to_dense()

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """What the linear layer gives (…, out) for values (…, in)."""
        result: torch.Tensor = torch.ops.aten.mkldnn_linear(values.to_mkldnn(), self._weight, self._bias).to_dense()
        return result


def to_mkldnn(module: nn.Module) -> None:
    """Replace the linear layers within a module that is on the CPU; where torch lacks oneDNN, leave them."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    for name, part in module.named_children():
        # Not a subclass: attention of torch's own reads the weights of one.
        if type(part) is nn.Linear and part.weight.dtype == torch.float32:
            setattr(module, name, MkldnnLinear(part))
        else:
            to_mkldnn(part)
