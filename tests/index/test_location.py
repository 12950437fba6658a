"""Where the points of an index are looked for, and which server is told the key."""

from dataclasses import replace
from pathlib import Path

import pytest

from rubrika.errors import StoreError
from rubrika.index.location import Location, source_of, store_location
from rubrika.index.manifest import Manifest, VectorSpec
from rubrika.store.connection import Connection

FOLDER = Path("index")
OWN, OTHER = "https://qdrant.example:6333", "https://qdrant.example.org:6333"
EMBEDDED = Manifest({"text": VectorSpec("learned", 8, "0" * 64)})
SERVED = replace(EMBEDDED, store="server", url=OWN, collection="shoes")


@pytest.mark.parametrize(
    ("url", "asked", "named", "key", "told"),
    [
        (OWN, None, None, None, True),
        (OWN, None, None, "key", False),
        (OWN, OTHER, None, "key", False),
        (OWN, None, OTHER, "key", False),
        (OWN, "https://QDRANT.example/", None, "key", True),
        (OWN, None, OWN, "key", True),
        ("http://127.0.0.1:6333", None, None, "key", True),
        ("http://localhost", None, None, "key", True),
        ("http://[::1]:6333", OTHER, OTHER, "key", True),
    ],
)
def test_a_key_goes_only_to_this_machine_or_to_a_server_that_its_owner_names(
    url: str, asked: str | None, named: str | None, key: str | None, told: bool
) -> None:
    at = Location(FOLDER, Connection(asked, "shoes") if asked else None, api_key=key)
    environment = {"QDRANT_URL": named} if named else {}
    manifest = replace(SERVED, url=url)
    if told:
        assert source_of(manifest, at, environment) == Connection(url, "shoes", key)
    else:
        with pytest.raises(StoreError, match=f"not sent there; if it is your server, set QDRANT_URL={url} "):
            source_of(manifest, at, environment)


def test_who_names_the_server_alone_means_the_collection_of_the_index() -> None:
    assumed = Connection(OWN + "/", "products", "key", assumed=True)
    assert store_location(SERVED, Location(FOLDER, assumed), {}) == replace(assumed, collection="shoes")
    named = Connection(OWN, "products", "key")
    assert store_location(SERVED, Location(FOLDER, named), {}) == named
    assert SERVED.is_in(replace(assumed, collection="shoes"))
    assert not SERVED.is_in(named)
    assert not EMBEDDED.is_in(assumed)


def test_points_of_an_embedded_index_are_in_its_folder() -> None:
    assert store_location(EMBEDDED, Location(FOLDER), {}) == FOLDER / "edge"
    assert store_location(replace(EMBEDDED, generation=2), Location(FOLDER), {}) == FOLDER / "edge-2"
