"""Finds a model's folder: one that the user names, or a copy of what a model hub has, so that loaders see folders only.

The hub is asked once, briefly. Left to themselves the loaders would each ask for each file, and without a network retry
each for half a minute.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from rubrika.errors import EncoderError

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

PATIENCE_SECONDS = 10
UNUSED_FOLDERS = {"onnx", "openvino", "original", "coreml"}
# How transformers reads a folder: it neither asks a hub nor runs code from there.
LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def model_folder(name: str) -> Path:
    """The folder of a model: `name` itself when it is one, else the hub's model of that name, downloaded if need be."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if name.startswith((".", "/", "~")):
        raise EncoderError(f"there is no folder {name}")
    if (found := ask_hub(name)) is None:
        return copy_on_disk(name)
    from huggingface_hub import snapshot_download  # imported here: a folder needs no hub

    files = needed_files(file.rfilename for file in found.siblings or [])
    return Path(snapshot_download(name, revision=found.sha or "main", allow_patterns=files))


def ask_hub(name: str) -> "ModelInfo | None":
    """The newest state of a model on the hub; None when the hub cannot be reached."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    try:
        return HfApi().model_info(name, timeout=PATIENCE_SECONDS)
    except HFValidationError:
        raise EncoderError(f"{name} is neither a folder nor a model's name") from None
    except RepositoryNotFoundError:
        raise EncoderError(f"the model hub has no {name} that is open to you") from None
    except Exception:  # A network fails in more ways than can be listed.
        return None


def copy_on_disk(name: str) -> Path:
    """The folder of a model that was downloaded before; EncoderError when none was."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except LocalEntryNotFoundError:
        raise EncoderError(f"the model hub cannot be reached and {name} is not on this disk") from None


def quiet_transformers() -> None:
    """Keep transformers from drawing bars and reporting on weights; what matters is checked by the loaders."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def needed_files(files: Iterable[str]) -> list[str]:
    """Settings, vocabularies and weights, as safetensors where there are any; never code."""
    paths = [path for path in map(PurePosixPath, files) if path.parts[0] not in UNUSED_FOLDERS]
    safe = {path.parent for path in paths if path.suffix == ".safetensors"}
    kept = [path for path in paths if path.suffix in {".json", ".txt", ".model", ".safetensors"}]
    kept += [path for path in paths if path.match("pytorch_model*.bin") and path.parent not in safe]
    return [str(path) for path in kept]
