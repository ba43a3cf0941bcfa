"""Tiny versions in a real store, for tests to which it does not matter what is in them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePosixPath

from modelyard.registry.content.pushing import push
from modelyard.registry.content.storage import Folder
from modelyard.registry.formats.scan import Found, Kind

# Bytes of each of them.
SIZE = 1000


def stored(home: Path, number: int) -> str:
    """Have version ``number`` in the store of a Modelyard, and give its manifest."""
    return stored_as(home, {"a.txt": Kind.PLAIN}, number)


def stored_as(home: Path, files: Mapping[str, str], number: int = 0) -> str:
    """Have a version in the store whose manifest says of its files, by their paths, that they are of these kinds."""
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for path, kind in files.items():
            (Path(folder) / path).write_bytes(f"{number}".encode().rjust(SIZE))
            found.append(Found(PurePosixPath(path), SIZE, kind))  # type: ignore[arg-type]
        return push(Path(folder), found, Folder(home / "registry")).manifest


@cache
def digest(number: int) -> str:
    """Its manifest, wherever it is stored."""
    with tempfile.TemporaryDirectory() as home:
        return stored(Path(home), number)
