"""Makes a new index folder around a newly learned encoder, empty but ready for points."""

import shutil
from pathlib import Path

from rubrika.encode.encoder import Savable
from rubrika.index.index import EDGE, encoder_folder
from rubrika.index.manifest import Manifest, VectorSpec, folder_hash
from rubrika.store.edge import EdgeStore

TEXT = "text"


def create_index(folder: Path, spec: str, encoder: Savable) -> Manifest:
    """Write encoder, empty store and, last, the manifest; what an interrupted try left is replaced.

    Args:
        folder: the index folder, made when missing.
        spec: the name under which the encoder is registered.
        encoder: the encoder of the `text` vector.
    """
    files = encoder_folder(folder, TEXT)
    fresh = files.with_name(files.name + ".new")
    for leftover in (files, fresh, folder / EDGE):
        shutil.rmtree(leftover, ignore_errors=True)
    encoder.save(fresh)
    fresh.replace(files)
    EdgeStore.create(folder / EDGE, {TEXT: encoder.size}).close()
    manifest = Manifest({TEXT: VectorSpec(spec, encoder.size, folder_hash(files))})
    manifest.write(folder)
    return manifest
