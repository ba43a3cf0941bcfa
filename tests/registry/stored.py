"""Tiny versions in a real store, for tests to which it does not matter what is in them."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path, PurePosixPath

from modelyard.registry.content.pushing import push
from modelyard.registry.content.storage import Folder
from modelyard.registry.formats.scan import Found, Kind

# Bytes of each of them.
SIZE = 1000


def stored(home: Path, number: int) -> str:
    """Have version ``number`` in the store of a Modelyard, and give its manifest."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.txt").write_bytes(f"{number}".encode().rjust(SIZE))
        found = Found(PurePosixPath("a.txt"), SIZE, Kind.PLAIN)
        return push(Path(folder), [found], Folder(home / "registry")).manifest


@cache
def digest(number: int) -> str:
    """Its manifest, wherever it is stored."""
    with tempfile.TemporaryDirectory() as home:
        return stored(Path(home), number)
