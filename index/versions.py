"""The collection behind a name on a server: numbered by Rubrika, noted in the folder, and named by an alias.

Vectors of another encoder need another collection, and a collection cannot be renamed. So what people use is an alias:
`products` stands for `products-1-20be88cb`, and after learning for `products-2-…`. What was noted of a generation that
is no longer, or not yet, the index's is removed when the index is changed or checked.
"""

import os
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from rubrika.files import read_bounded, write_in_one_step
from rubrika.index.location import Location, encoder_folder, other_generations, store_location
from rubrika.index.manifest import SERVER, Manifest
from rubrika.index.published import publish
from rubrika.store.connection import Connection
from rubrika.store.open import aliases_of, delete_store, may_make, open_store, stands_for, switch_name

_NOTE = "collection"
MAX_NAME = 1_000  # bytes, of a collection
_NUMBER = re.compile(r"-\d+-[0-9a-f]{8}$")


def name_of(manifest: Manifest, server: Connection) -> str:
    """The name by which people know the collection of an index; without the number that an earlier version left there.

    A collection that an earlier version made is called by that name itself.
    """
    name = _base(manifest.collection)
    return name if stands_for(replace(server, collection=name)) in (None, server.collection) else manifest.collection


def collection_for(server: Connection, folder: Path, generation: int, resume: bool = False) -> Connection:
    """The collection for the points of an index by the name that a user gave: what is there, or a new numbered one.

    The one that an interrupted try has noted is taken up again where it is empty, or to `resume`. One that is called by
    the name itself is taken as it is: an administrator may have made it for a key that may not make others.
    """
    found = stands_for(server)
    if server.fixed or found is not None or not may_make(server):
        return replace(server, collection=found or server.collection, fixed=True)
    return numbered(server, folder, generation, resume)


def numbered(server: Connection, folder: Path, generation: int, resume: bool = False) -> Connection:
    """A collection for this generation that nobody else has, noted in the folder."""
    note = _note(folder, generation)
    noted = replace(server, collection=_read(note) or server.collection, fixed=True)
    is_ours = re.fullmatch(rf"{re.escape(server.collection)}-{generation}-[0-9a-f]{{8}}", noted.collection)
    if is_ours and stands_for(noted) == noted.collection and (resume or not _count(noted)):
        return noted
    fresh = replace(noted, collection=f"{server.collection}-{generation}-{uuid4().hex[:8]}")
    _write(note, fresh.collection)
    return fresh


def note_collection(folder: Path, manifest: Manifest, collection: str) -> None:
    """Note the collection of an index, so that it is removed once another has taken its place."""
    _write(_note(folder, manifest.generation), collection)


def forget_collection(folder: Path, manifest: Manifest) -> None:
    """An index that has its points in its folder has no collection to remove."""
    _note(folder, manifest.generation).unlink(missing_ok=True)


def settle(at: Location, manifest: Manifest, note: Callable[[str], None] = lambda _: None) -> None:
    """Let the name of an index stand for its collection, and remove what other generations have left on the server.

    Nothing is done, and nothing asked, where none has left anything: so it is unless learning has just ended or was
    interrupted. The index must be held.
    """
    if manifest.store != SERVER or not unsettled(at.folder, manifest):
        return
    folder, server = at.folder, store_location(manifest, at, os.environ)
    if not isinstance(server, Connection) or not manifest.is_in(server):
        return
    if manifest.published:
        # Whoever follows the name finds an index there, also when learning ended before it had said so.
        publish(at, manifest)
    leftovers, name = other_generations(folder, manifest.generation), manifest.collection
    current = stands_for(replace(server, collection=name))
    # A folder may be a stranger's: it removes no other collections than those of this name.
    noted = {_read(path / _NOTE) for path in leftovers} - {"", server.collection}
    old = {each for each in noted if each == current or _base(each) == _base(name)}
    if old and manifest.behind == server.collection != current:
        _take_name(server, name, current, old, note)
    for superseded in (replace(server, collection=each, fixed=True) for each in sorted(old)):
        if stands_for(superseded) != superseded.collection:
            continue
        if superseded.collection == manifest.previous:
            continue
        if others := aliases_of(superseded):
            left = f"collection «{superseded.collection}» is left there, because {', '.join(sorted(others))} names it"
            note(f"{server.server}: {left}")
        else:
            delete_store(superseded)
    for leftover in leftovers:
        delete_store(leftover)


def unsettled(folder: Path, manifest: Manifest) -> bool:
    """Whether another generation has left a collection on the server."""
    return any(_read(path / _NOTE) for path in other_generations(folder, manifest.generation))


def _take_name(server: Connection, name: str, current: str | None, old: set[str], note: Callable[[str], None]) -> None:
    if current is not None and current not in old:
        taken = f"«{name}» names {current} by now, and stays so; the index itself uses {server.collection}"
        note(f"{server.server}: {taken}")
        return
    if current == name:
        # A collection cannot be renamed: for a moment nothing is called so.
        delete_store(replace(server, collection=name, fixed=True))
        note(f"{server.server}: «{name}» was a collection, and is an alias of {server.collection} from now on")
    switch_name(server, name)


def _base(collection: str) -> str:
    return _NUMBER.sub("", collection)


def _note(folder: Path, generation: int) -> Path:
    return encoder_folder(folder, _NOTE, generation)


def _write(note: Path, collection: str) -> None:
    note.parent.mkdir(parents=True, exist_ok=True)
    write_in_one_step(note, collection)


def _read(note: Path) -> str:
    try:
        return read_bounded(note, MAX_NAME).decode()
    except (OSError, ValueError):
        return ""


def _count(server: Connection) -> int:
    with closing(open_store(server)) as store:
        return store.count()
